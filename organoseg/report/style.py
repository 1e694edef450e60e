"""The looks of the report, inside the page itself."""

CSS = """
:root { --ink: #1e2228; --soft: #5c6470; --line: #dfe3e8; --back: #f5f6f8; --accent: #1f6fb2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 0 0 .6rem; }
p { margin: .5rem 0; max-width: 46rem; }
.lead { font-size: 1.08rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 24px; margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 14px;
  margin-top: 16px; }
.card { background: #fff; border: 1px solid var(--line); border-top: 4px solid var(--line);
  border-radius: 10px; padding: 14px 18px; }
.card b { display: block; font-size: 2rem; line-height: 1.2; }
.card h3 { margin: 0; font-size: 1rem; }
.card p, .soft { color: var(--soft); font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 18px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; }
td small { color: var(--soft); white-space: nowrap; }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0 0 .3rem; max-width: 46rem; }
svg { width: 100%; max-width: 720px; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { font-weight: 600; }
svg .grid { stroke: var(--line); }
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
footer { color: var(--soft); font-size: .85rem; margin-top: 22px; }
@media (max-width: 640px) { .grid { grid-template-columns: repeat(2, 1fr) !important; }
  .grid .head { display: none; } section { padding: 16px; } }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""
