// A person at the pages: signs in, says yes to deputy, chooses an account at the provider. Plain HTTP, no screen.
import type { Browser, Visit } from './browser.ts'

type Clicker = {
  /** Name at the organisation's OpenID provider. */
  readonly login: string
  /** The account to choose at the provider. */
  readonly account: string
  /** What to say to deputy; yes unless told. */
  readonly answer?: 'yes' | 'no'
}

/** The form of one account on the page where a provider asks which one. */
const picker = (html: string, account: string): string | undefined =>
  [...html.matchAll(/<form[\s\S]*?<\/form>/g)]
    .map(([form]) => form)
    .find((form) => form.includes(`name="login" value="${account}"`))

/** Opens a link and says yes to every page until one asks nothing more; returns that page. */
export const clickThrough = async (
  browser: Browser,
  link: string,
  who: Clicker,
): Promise<Visit> => {
  let page = await browser.open(link)
  for (let clicks = 0; clicks < 10; clicks += 1) {
    const account = picker(page.text, who.account)
    if (account !== undefined) page = await browser.submit({ ...page, text: account })
    else if (page.text.includes('name="prompt" value="login"'))
      page = await browser.submit(page, { login: who.login, password: 'x' })
    else if (page.text.includes('name="prompt" value="consent"')) page = await browser.submit(page)
    else if (page.text.includes('name="csrf"'))
      page = await browser.submit(page, { answer: who.answer ?? 'yes' })
    else return page
  }
  throw new Error(`the pages ask without end at ${page.url}`)
}
