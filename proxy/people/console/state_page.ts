// The policy that decides, how a shadow policy differs from it, and how deputy is.
import { html } from 'hono/html'
import type { Recorded } from '../../audit/recent.ts'
import { listAt, textAt } from '../../audit/query.ts'
import { when, type Html, type Page } from '../markup.ts'
import { plain } from '../plain.ts'
import { consolePage, HOME, link, table, type Viewer } from './shell.ts'

const MOST = 100
/** One state of what deputy needs, as `/readyz?verbose` says it. */
export type Check = { readonly name: string; readonly ok: boolean; readonly detail: string }

export type PolicyView = {
  readonly revision: string | null
  readonly digest: string | null
  readonly problem: string | null
  /** null: there is no shadow. */
  readonly shadow: { readonly revision: string | null; readonly problem: string | null } | null
  /** `policy.loaded` and `policy.failed`, the newest first. */
  readonly loads: readonly Recorded[]
  /** `policy.shadow`, the newest first. */
  readonly differences: readonly Recorded[]
}
const RESULTS: Readonly<Record<string, string>> = {
  allow_to_deny: 'Would be refused',
  deny_to_allow: 'Would be allowed',
  otherwise: 'Same word, for other reasons or on other conditions',
}
const said = ({ fields }: Recorded, of: 'serving' | 'shadow'): Html =>
  html`${textAt(fields, of, 'allow') === 'true' ? 'Allowed' : 'Refused'}
    <span class="line soft"
      >${plain([...listAt(fields, of, 'reasons'), ...listAt(fields, of, 'obligations')].join(', '))}</span
    >`

/** What is wrong with a policy may name others' rows: an operator of some tenants learns that it is. */
const wrong = ({ operator }: Viewer, problem: string): Html | string =>
  operator.tenants === undefined || problem === ''
    ? plain(problem)
    : 'a problem, told to operators of all tenants'

export const policyPage = (viewer: Viewer, view: PolicyView): Page =>
  consolePage(
    viewer,
    { here: `${HOME}/policy`, title: 'Policy' },
    html`<dl>
        <div>
          <dt>In force</dt>
          <dd>${view.revision === null ? 'none: every call is refused' : plain(view.revision)}</dd>
        </div>
        ${
          view.digest === null
            ? ''
            : html`<div>
                <dt>Digest</dt>
                <dd><code>${plain(view.digest)}</code></dd>
              </div>`
        }
        ${
          view.problem === null
            ? ''
            : html`<div>
                <dt>Newest refused</dt>
                <dd>${wrong(viewer, view.problem)}</dd>
              </div>`
        }
        ${
          view.shadow === null
            ? ''
            : html`<div>
                <dt>Shadow</dt>
                <dd>
                  ${plain(view.shadow.revision ?? 'none')}
                  ${wrong(viewer, view.shadow.problem ?? '')}
                </dd>
              </div>`
        }
      </dl>
      ${table(
        {
          caption: 'Revisions that this process loaded lately',
          head: ['When', 'Revision', 'What'],
          none: 'No change of the policy is among the last records of this process.',
        },
        view.loads
          .slice(0, MOST)
          .map(({ at, event, fields }) => [
            when(at),
            plain(textAt(fields, 'policy', 'revision')),
            event === 'policy.loaded'
              ? html`Loaded${textAt(fields, 'bundle', 'signed', 'key') === '' ? '' : html`, signed by ${plain(textAt(fields, 'bundle', 'signed', 'key'))}`}`
              : wrong(viewer, textAt(fields, 'problem')),
          ]),
      )}
      ${
        view.shadow === null
          ? html`<p class="soft">No shadow policy is configured (<code>policy.shadow</code>).</p>`
          : table(
              {
                caption: 'Calls that the shadow would have decided otherwise',
                head: ['When', 'Difference', 'In force', 'Shadow'],
                none: 'No difference is among the last records of this process.',
              },
              view.differences
                .slice(0, MOST)
                .map((one) => [
                  when(one.at),
                  html`<a href="${link('call', { exchange: one.exchange })}"
                    >${RESULTS[textAt(one.fields, 'result')] ?? plain(textAt(one.fields, 'result'))}</a
                  >`,
                  said(one, 'serving'),
                  said(one, 'shadow'),
                ]),
            )
      }`,
  )

/** @param whole false: an operator of some tenants learns which part is ill, not what its words say of others */
export const healthPage = (viewer: Viewer, checks: readonly Check[], whole: boolean): Page => {
  const ill = checks.filter(({ ok }) => !ok).length
  return consolePage(
    viewer,
    {
      here: `${HOME}/health`,
      title: ill === 0 ? 'All is well' : `Not ready: ${ill} of ${checks.length} parts`,
      tone: ill === 0 ? 'good' : 'bad',
    },
    html`<p class="soft">
        What <code>/readyz?verbose</code> of this process says.
        ${whole ? '' : 'Details are for operators of all tenants.'}
      </p>
      ${table(
        { caption: 'Parts', head: ['Part', 'State', 'Detail'], none: 'Nothing is looked at.' },
        checks.map(({ name, ok, detail }) => [
          html`<code>${plain(name)}</code>`,
          html`<span class="effect ${ok ? 'allow' : 'deny'}">${ok ? 'Well' : 'Not well'}</span>`,
          whole ? plain(detail) : '',
        ]),
      )}`,
  )
}
