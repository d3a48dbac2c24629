// The console's own style, beside that of all pages, and its one script: it follows what happens, and the pages work
// without it.

/** Told apart without colour too: each has its word beside it. */
const TONES = `:root{--allow:#2f6fd0;--waits:#8f5600;--deny:#c0392b;--refused:#7d4ab8;--error:#5a6472}
@media (prefers-color-scheme:dark){:root{--allow:#7fb0ff;--waits:#f0b04c;--deny:#ff8a7e;--refused:#c6a2f5;--error:#aab4c0}}`

export const CONSOLE_STYLE = `${TONES}
main{max-width:78rem}
.bar{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.25rem 1.5rem;max-width:78rem;margin:0 auto;padding:.75rem 1rem 0}
.bar ul{display:flex;flex-wrap:wrap;gap:0 .25rem;list-style:none;margin:0 0 0 -.75rem;padding:0}
.bar li{margin:0}
.bar a{display:inline-block;padding:.5rem .75rem;border-bottom:3px solid transparent;text-decoration:none}
.bar a[aria-current]{border-color:var(--act);font-weight:600}
.bar form{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .75rem;margin:0}
.bar button,form.act button,.filters button,.search button{min-height:2.25rem;padding:.25rem .75rem;margin:0;font-size:.95rem}
table{width:100%;border-collapse:collapse;margin:1.5rem 0;font-size:.95rem}
caption{text-align:left;font-weight:600;font-size:1.1rem;padding-bottom:.5rem}
th{text-align:left;color:var(--soft);font-weight:600}
th,td{padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:last-child,th:last-child{padding-right:0}
td:last-child form.act{text-align:right}
#rows td:nth-child(1){white-space:nowrap}
#rows td:nth-child(2){width:38%}
#rows td:nth-child(3){width:18%}
form.act{margin:0}
main>form.act{display:inline-block;margin:0 .75rem .5rem 0}
.line{display:block}
.none{color:var(--soft);margin:1rem 0}
.why{white-space:nowrap}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.effect{display:inline-block;font-size:.85rem;font-weight:600;padding:0 .45rem;margin-right:.35rem;border:1.5px solid currentColor;border-radius:1rem;white-space:nowrap;color:var(--error)}
.effect.allow{color:var(--allow)}
.effect.deny,.effect.failed{color:var(--deny)}
.effect.refused{color:var(--refused)}
.effect.consent_required,.effect.approval_required,.effect.step_up_required{color:var(--waits)}
.filters fieldset{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;border:0;padding:0;margin:0 0 .5rem}
.filters legend{padding:0;font-weight:600;margin-bottom:.25rem}
.filters label{display:inline-flex;align-items:center;gap:.4rem;font-weight:400;margin:0;min-height:1.75rem}
.filters input{width:1.1rem;height:1.1rem;margin:0}
.search{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem .75rem}
.search label,.search input{margin:0}
.onward{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem}
.plots{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:0 2.5rem;align-items:start}
figure{margin:0}
figure h2{margin:1rem 0 .5rem}
figure svg{display:block;width:100%;height:auto}
figure text{font:13px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}
rect.allow{fill:var(--allow)}
rect.waits{fill:var(--waits)}
rect.deny{fill:var(--deny)}
rect.refused{fill:var(--refused)}
rect.error{fill:var(--error)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;margin:0 0 .5rem;padding:0;font-size:.9rem}
.legend li{margin:0}
.swatch{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin-right:.35rem;background:var(--error)}
.swatch.allow{background:var(--allow)}
.swatch.waits{background:var(--waits)}
.swatch.deny{background:var(--deny)}
.swatch.refused{background:var(--refused)}
.reasons table{margin:0}
.reasons caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.reasons th{font-weight:400;color:inherit}
.reasons td,.reasons th{vertical-align:middle}
.reasons .n{text-align:right;white-space:nowrap}
.reasons .chart{width:40%}
.reasons svg{height:.8rem}
.story{line-height:1.6}
.fresh{animation:fresh 2s}
@keyframes fresh{from{background:var(--warn)}}
@media (prefers-reduced-motion:reduce){.fresh{animation:none}}
@media (max-width:46rem){
.plots{grid-template-columns:minmax(0,1fr)}
table:not(.plain),table:not(.plain) tbody,table:not(.plain) tr,table:not(.plain) td{display:block;width:auto}
table:not(.plain) caption{display:block}
table:not(.plain) thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table:not(.plain) tr{border-bottom:1px solid var(--line);padding:.5rem 0}
table:not(.plain) td{border:0;padding:.15rem 0}
table:not(.plain) td:not(:empty)::before{content:attr(data-head) / '';display:block;color:var(--soft);font-size:.85rem}
table:not(.plain) td[data-head='']::before{content:none}
#rows td:nth-child(2),#rows td:nth-child(3){width:auto}
#rows td::before{content:none!important}
#rows .at .line{display:inline;margin-left:.5rem}
figure text{font-size:27px}
figure .minor{display:none}
td:last-child form.act{text-align:left}
}
`

/** Opens the stream that the page names; each message is rows as the server writes them. */
export const LIVE_SCRIPT = `
const line = document.getElementById('live')
const rows = document.getElementById('rows')
const most = Number(line.dataset.most)
const page = document.documentElement.lang
const tag = navigator.languages.find((one) => one.split('-')[0] === page) ?? page
const [clock, day] = [{ timeStyle: 'medium' }, { dateStyle: 'medium' }].map((as) => new Intl.DateTimeFormat(tag, as))
const today = day.format(new Date())
const local = (within) => {
  for (const at of within.querySelectorAll('.at')) {
    const then = new Date(at.dataset.at)
    at.title = at.dataset.at
    at.firstChild.textContent = clock.format(then)
    at.lastElementChild.textContent = day.format(then) === today ? '' : day.format(then)
  }
}
local(document)
const source = new EventSource(line.dataset.stream)
const say = (text) => { if (line.textContent !== text) line.textContent = text }
source.addEventListener('open', () => say('Live: new records appear by themselves.'))
source.addEventListener('error', () => say(source.readyState === EventSource.CLOSED
  ? 'The live view has ended: reload the page.'
  : 'The live view was cut, and is tried again.'))
source.addEventListener('end', () => { source.close(); say('The live view has ended: reload the page.') })
source.addEventListener('skipped', (event) => say('Live, but ' + event.data + ' records came too fast to be shown here.'))
source.addEventListener('rows', (event) => {
  const made = document.createElement('template')
  made.innerHTML = event.data
  for (const row of [...made.content.children]) {
    local(row)
    document.getElementById(row.id)?.remove()
    row.classList.add('fresh')
    rows.prepend(row)
  }
  while (rows.children.length > most) rows.lastElementChild.remove()
  document.getElementById('none').hidden = rows.children.length > 0
})
`
