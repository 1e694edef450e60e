"""The looks of the page and its one script, both inside the page itself."""

#: The page may load nothing, whatever a file name or warning may hold.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)

#: What every page of organoseg has in common.
BASE = """
:root { --ink: #1e2228; --soft: #5c6470; --line: #dfe3e8; --back: #f5f6f8; --accent: #1f6fb2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; }
.lead { font-size: 1.08rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin-top: 18px; }
.soft { color: var(--soft); font-size: .92rem; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { font-weight: 600; }
svg .grid { stroke: var(--line); }
footer { color: var(--soft); font-size: .85rem; margin-top: 22px; }
"""

CSS = (
    BASE
    + """
main { max-width: 1240px; }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
p { max-width: 50rem; }
a { color: var(--accent); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin-top: 16px; }
.card { background: #fff; border: 1px solid var(--line); border-top: 4px solid var(--accent); border-radius: 10px;
  padding: 12px 18px; color: var(--soft); font-size: .92rem; }
.card b { display: block; font-size: 1.9rem; line-height: 1.25; color: var(--ink); font-variant-numeric: tabular-nums; }
.card.bad { border-top-color: #c0392b; }
.scroll { overflow: auto; max-height: 620px; margin-top: .6rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 9px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; line-height: 1.3; overflow-wrap: anywhere; min-width: 8rem; }
#pictures td.text { min-width: 11rem; }
#pictures th, #pictures td { padding: 5px 7px; }
th { font-weight: 600; white-space: normal; vertical-align: bottom; position: sticky;
  top: 0; background: #fff; z-index: 1; box-shadow: 0 1px 0 var(--line); }
th[data-sort] { cursor: pointer; }
th[data-sort]:hover { color: var(--accent); }
th.up::after { content: " \\25B2"; font-size: .7em; } th.down::after { content: " \\25BC"; font-size: .7em; }
input[type=search] { font: inherit; padding: 5px 10px; border: 1px solid var(--line); border-radius: 7px; width: 18rem;
  max-width: 100%; }
svg { max-width: 100%; height: auto; display: block; }
svg.box { display: inline-block; vertical-align: middle; max-width: none; }
svg .name { fill: #b4532a; paint-order: stroke; stroke: #fff; stroke-width: 4px; }
svg .median { stroke: #b4532a; stroke-dasharray: 4 3; }
svg .none { fill: none; stroke: #c9ced6; stroke-dasharray: 3 3; }
.plates { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 10px 26px; }
.plates figure { margin: .4rem 0; }
.plates figcaption { display: flex; justify-content: space-between; flex-wrap: wrap;
  font-size: .92rem; font-weight: 600; }
.plate { width: 100%; margin-top: 4px; }
.key { font-weight: 400; color: var(--soft); white-space: nowrap; }
.key i { display: inline-block; width: 90px; height: 11px; border-radius: 3px; margin: 0 7px; vertical-align: -1px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 14px; margin-top: 12px; }
.gallery figure { margin: 0; min-width: 0; }
.gallery img { width: 100%; height: 240px; object-fit: contain; background: #eceff2; display: block;
  border-radius: 6px; }
.gallery figcaption { font-size: .84rem; color: var(--soft); overflow-wrap: anywhere; margin-top: 3px; }
.gallery b { color: var(--ink); }
.remark { border-left: 4px solid #d89614; padding: 1px 0 1px 12px; margin: .6rem 0; }
.remark.bad { border-left-color: #c0392b; }
summary { cursor: pointer; color: var(--soft); }
details ul { margin: .3rem 0; padding-left: 1.2rem; font-size: .9rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: .4rem 0; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: .9em; background: #eef1f4; padding: 1px 5px; border-radius: 4px; overflow-wrap: anywhere; }
@media (max-width: 640px) { section { padding: 16px; } .plates { grid-template-columns: 1fr; } dl { display: block; } }
@media print { body { background: #fff; } section, .card, figure { break-inside: avoid; }
  .scroll { max-height: none; overflow: visible; } input { display: none; } }
"""
)

#: Sorts a table by the column whose head is clicked, and shows the rows that hold what is typed.
SCRIPT = """
document.querySelectorAll('th[data-sort]').forEach(function (head) {
  head.addEventListener('click', function () {
    var body = head.closest('table').tBodies[0], at = head.cellIndex;
    var words = body.rows.length > 0 && body.rows[0].cells[at].dataset.v === undefined;
    var down = words ? head.classList.contains('up') : !head.classList.contains('down');
    head.parentNode.querySelectorAll('th').forEach(function (h) { h.classList.remove('up', 'down'); });
    head.classList.add(down ? 'down' : 'up');
    var rows = Array.from(body.rows).map(function (row) {
      var cell = row.cells[at], said = cell.dataset.v;
      return [said === undefined ? cell.textContent : said === '' ? -Infinity : Number(said), row];
    });
    rows.sort(function (a, b) {
      var order = typeof a[0] === 'number' ? (a[0] === b[0] ? 0 : a[0] < b[0] ? -1 : 1)
        : a[0].localeCompare(b[0], undefined, {numeric: true});
      return down ? -order : order;
    });
    rows.forEach(function (pair) { body.appendChild(pair[1]); });
  });
});
document.querySelectorAll('input[data-for]').forEach(function (field) {
  field.addEventListener('input', function () {
    var wanted = field.value.toLowerCase();
    Array.from(document.getElementById(field.dataset.for).tBodies[0].rows).forEach(function (row) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  });
});
"""
