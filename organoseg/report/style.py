"""The looks of the report, inside the page itself."""

from organoseg.inference.page.style import BASE

CSS = (
    BASE
    + """
main { max-width: 1060px; }
p { max-width: 46rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 14px;
  margin-top: 16px; }
.card { background: #fff; border: 1px solid var(--line); border-top: 4px solid var(--line);
  border-radius: 10px; padding: 14px 18px; }
.card b { display: block; font-size: 2rem; line-height: 1.2; }
.card h3 { margin: 0; font-size: 1rem; }
.card p { color: var(--soft); font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 18px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; }
td small { color: var(--soft); white-space: nowrap; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0 0 .3rem; max-width: 46rem; }
svg { width: 100%; max-width: 720px; height: auto; display: block; }
.grid { display: grid; gap: 10px; margin-top: 12px; }
.grid figure { margin: 0; min-width: 0; }
.grid img { width: 100%; height: auto; display: block; border-radius: 4px; }
.grid figcaption { font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
.grid .head { font-weight: 600; font-size: .92rem; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: .9rem; color: var(--soft); }
.legend i { display: inline-block; width: 13px; height: 13px; border-radius: 3px;
  margin-right: 6px; vertical-align: -2px; }
.remark { border-left: 4px solid #d89614; padding-left: 12px; }
pre { background: #22272e; color: #eef1f4; padding: 12px 16px; border-radius: 8px;
  overflow-x: auto; font-size: .86rem; line-height: 1.5; }
@media (max-width: 640px) { .grid { grid-template-columns: repeat(2, 1fr) !important; }
  .grid .head { display: none; } section { padding: 16px; } }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""
)
