// Jedes Wort der Seiten auf Deutsch: every word of the pages in German. What each is for stands in
// `en.ts`.
import { html } from 'hono/html'
import { problems } from './de_problems.ts'
import type { Texts } from './en.ts'

type Gone = Parameters<Texts['ending']['revoked']>[0]

const name = (provider: string | null): string => provider ?? 'Der Anbieter'
const at = (provider: string | null): string => provider ?? 'dem Anbieter'
const account = ({ provider, account: of }: Gone): string => {
  const called = provider ?? 'Dieses Konto'
  return of ? `${called} (${of})` : called
}
const forgotten = (gone: Gone): string =>
  `${account(gone)}: deputy hat seinen Zugang gelöscht. Kein Agent kann ihn mehr nutzen.`
const byHand = ({ provider }: Gone): string =>
  `Entfernen Sie die Anwendung sicherheitshalber in Ihren Kontoeinstellungen bei ${at(provider)}.`

export const de: Texts = {
  tag: 'de',
  help: 'Hilfe',
  reference: 'Kennung für Ihre Administration:',
  unverified: '(nicht bestätigt)',
  seeConnections: 'Verbundene Konten ansehen und trennen',

  label: {
    agent: 'Agent',
    provider: 'Anbieter',
    connection: 'Verbindung',
    storedFor: 'Gespeichert für',
    connectedAs: 'Verbunden als',
    allowed: 'Erlaubt am',
    lastUsed: 'Zuletzt genutzt',
    code: 'Fehlercode',
    status: 'HTTP-Status',
  },

  scope: {
    verb: {
      read: 'Lesen',
      write: 'Anlegen und ändern',
      delete: 'Löschen',
      admin: 'Verwalten',
    },
    also: 'Außerdem',
    more: (names, more) => `${names} und ${more} weitere`,
    known: {
      openid: 'Erkennen, welches Konto Ihnen gehört',
      profile: 'Ihren Namen und Ihr Bild sehen',
      email: 'Ihre E-Mail-Adresse sehen',
      offline_access: 'Die Verbindung aufrechterhalten, auch wenn Sie nicht da sind',
    },
    ownName: (provider) => `Eine Berechtigung, die nur ${provider} selbst näher bezeichnet`,
    nothing: (provider) => `Das, was ${provider} jeder Anwendung gewährt.`,
    allowedNone: 'Nichts, so wie die Richtlinie Ihrer Organisation zurzeit ist',
    wider: (provider) => `${provider} fasst es weiter:`,
  },

  consent: {
    titleGrant: (agent, provider) => `Darf ${agent} Ihr Konto bei ${provider} nutzen?`,
    title: (agent, provider) => `${provider} für ${agent} verbinden?`,
    intro: (agent, provider) =>
      html`Der Agent <strong>${agent}</strong> möchte bei <strong>${provider}</strong> in Ihrem
        Namen handeln. Ihr Passwort und Ihr Zugriffstoken bekommt er nie zu sehen, und über jeden
        einzelnen Aufruf entscheidet die Richtlinie Ihrer Organisation.`,
    occasion: (agent) => `${agent} fragt an, um Folgendes zu tun:`,
    stronger: (provider) =>
      `${provider} verlangt, dass Sie sich dort erneut anmelden, mit einem stärkeren Verfahren oder weil die letzte Anmeldung zu lange her ist. Erst danach kann der Agent weiterarbeiten.`,
    withdrawn: (provider) =>
      `Sie hatten dieses Konto schon verbunden; inzwischen hat ${provider} die Berechtigung zurückgezogen.`,
    may: 'Was der Agent tun darf',
    again: 'Was Sie früher erlaubt haben, wird noch einmal erfragt, damit es bestehen bleibt:',
    warning: (agent) =>
      `Fahren Sie nur fort, wenn Sie ${agent} selbst verwenden und diesen Link gerade von dort erhalten haben. Hat ihn Ihnen jemand anderes geschickt, wählen Sie „Nein, danke“ und informieren Sie Ihr Sicherheitsteam.`,
    next: 'Wie es weitergeht',
    nextGrant: (provider) =>
      `Sie haben ${provider} bereits verbunden, deshalb wird dort nichts gefragt. Gespeichert wird nur die Erlaubnis für diesen Agenten.`,
    nextProvider: (provider) =>
      `Sie gelangen zu ${provider}, melden sich mit Ihrem eigenen Konto an und stimmen dort zu. Danach kommen Sie hierher zurück.`,
    yesGrant: (agent) => `${agent} erlauben`,
    yes: (provider) => `Weiter zu ${provider}`,
    no: 'Nein, danke',
  },

  key: {
    opens: (provider) =>
      `${provider} hat keine Anmeldung für Anwendungen, deshalb wird Ihr Schlüssel gebraucht. Er öffnet alles, was er Ihnen öffnet; der Agent bekommt ihn nie zu sehen und darf nur, was die Richtlinie Ihrer Organisation erlaubt.`,
    next: (provider) =>
      `Legen Sie bei ${provider} einen eigenen Schlüssel an, möglichst nur für diesen Zweck, und fügen Sie ihn hier ein. deputy zeigt ihn ${provider} einmal, um ihn zu prüfen, und bewahrt ihn verschlüsselt auf.`,
    label: (provider) => `Ihr eigener Schlüssel von ${provider}`,
    hint: 'Er wird nie wieder angezeigt, und niemand sonst kann ihn nutzen. Um seine Nutzung zu beenden, trennen Sie die Verbindung hier und löschen ihn dort, wo Sie ihn angelegt haben.',
    yes: 'Meinen Schlüssel speichern',
    malformed: () =>
      'Das sieht nicht nach einem Schlüssel aus: Er muss eine Zeile mit 12 bis 4.096 Zeichen ohne Leerzeichen sein. Gespeichert wurde nichts.',
    refused: (provider) =>
      `${provider} nimmt diesen Schlüssel nicht an, deshalb wurde nichts gespeichert. Prüfen Sie, ob er vollständig und noch gültig ist.`,
    unknown: (provider) =>
      `${provider} hat nicht gesagt, ob dieser Schlüssel gut ist, deshalb wurde nichts gespeichert. Versuchen Sie es gleich noch einmal.`,
  },

  done: {
    title: (provider) => `${provider} ist verbunden`,
    already: (provider) => `${provider} ist bereits verbunden`,
    missing: (provider) =>
      `${provider} hat nicht alles gewährt. Wird Folgendes gebraucht, werden Sie erneut gefragt:`,
    back: 'Sie können diese Seite schließen und zum Agenten zurückkehren.',
  },

  plan: {
    title: (agent) => `Was ${agent} noch von Ihnen braucht`,
    intro: (agent) =>
      `${agent} hat mehreres zugleich vor. Antworten Sie für einen Anbieter nach dem anderen; vorher geschieht nichts.`,
    left: (n) => (n === 1 ? 'Es fehlt noch eine Antwort.' : `Es fehlen noch ${n} Antworten.`),
    over: 'Hier ist nichts mehr zu tun.',
    open: (provider) => `Weiter mit ${provider}`,
    completed: 'Erledigt',
    failed: 'Nicht gewährt',
    gone: 'Dieser Link gilt nicht mehr',
    back: 'Sehen, was noch fehlt',
  },

  goOn: {
    title: (to) => `Weiter zu ${to}`,
    body: (to, location) =>
      html`Falls nichts geschieht, gehen Sie <a href="${location}">weiter zu ${to}</a>.`,
  },

  wrongPerson: {
    title: 'Dieser Link ist nicht für Sie',
    lines: [
      'Sie sind als eine andere Person angemeldet als die, für die dieser Link bestimmt ist. Es wurde nichts verbunden und nichts geändert.',
      'Falls Ihnen jemand diesen Link geschickt hat, informieren Sie Ihr Sicherheitsteam: Ein Konto darf nur verbinden, wem es gehört.',
      'Ist es Ihr eigener Link, melden Sie sich bei Ihrer Organisation ab, öffnen Sie den Link erneut und melden Sie sich mit dem richtigen Konto an.',
    ],
  },
  expired: {
    title: 'Dieser Link ist nicht mehr gültig',
    lines: [
      'Er ist abgelaufen, wurde schon verwendet oder hat nie existiert. Es wurde nichts geändert.',
      'Kehren Sie zum Agenten zurück und wiederholen Sie Ihren Auftrag: Sie erhalten dann einen neuen Link.',
    ],
  },
  inactive: {
    title: 'Ihr Konto ist gesperrt',
    lines: [
      'Ihre Organisation führt Sie nicht als aktiv, deshalb wurde nichts verbunden.',
      'Wenden Sie sich an Ihre Administration und wiederholen Sie danach Ihren Auftrag an den Agenten.',
    ],
  },
  agentOff: {
    title: 'Dieser Agent ist abgeschaltet',
    lines: [
      'Sein Besitzer oder ein Operator hat ihn für alle abgeschaltet, deshalb wurde nichts verbunden.',
      'Der Link gilt wieder, sobald der Agent eingeschaltet ist, solange er nicht von selbst abläuft.',
    ],
  },
  tenantFull: {
    title: 'Ihre Organisation darf nichts mehr verbinden',
    lines: [
      'Es sind bereits so viele Personen oder Konten verbunden, wie Ihre Organisation hier verbinden darf, deshalb wurde nichts verbunden.',
      'Wenden Sie sich an Ihre Administration und wiederholen Sie danach Ihren Auftrag an den Agenten.',
    ],
  },
  awaiting: {
    title: 'Ihre Anwendung muss noch bestätigen',
    lines: [
      'Dieser Schritt ist erledigt. Die Anwendung, in der Sie den Agenten verwenden, muss nun bestätigen, dass Sie es waren.',
      'Kehren Sie zu dieser Anwendung zurück. Ohne ihre Bestätigung wird nichts gespeichert, und was gewährt wurde, wird zurückgegeben.',
    ],
  },
  denied: {
    title: 'Es wurde nichts verbunden',
    lines: [
      'Sie haben abgelehnt, und der Agent wurde davon unterrichtet. Sie können diese Seite schließen.',
      'Wenn Sie es sich anders überlegen, fragen Sie den Agenten noch einmal: Sie erhalten dann einen neuen Link.',
    ],
  },
  mismatch: (provider) => ({
    title: 'Das ist ein anderes Konto',
    lines: [
      `Sie hatten zuvor ein anderes Konto bei ${provider} verbunden, deshalb wurde das neue nicht gespeichert.`,
      'Fragen Sie den Agenten erneut und wählen Sie dasselbe Konto, oder trennen Sie zuerst das alte.',
    ],
  }),
  providerError: (provider) => ({
    title: `${name(provider)} hat die Verbindung nicht abgeschlossen`,
    lines: [
      'Es wurde nichts gespeichert. Meist ist das vorübergehend.',
      'Kehren Sie zum Agenten zurück und wiederholen Sie Ihren Auftrag. Geschieht es wieder, informieren Sie Ihre Administration.',
    ],
  }),
  admin: (provider) => ({
    title: 'Das muss erst die Administration freigeben',
    lines: [
      `Ihre Organisation lässt bei ${provider} nur freigegebene Anwendungen zu, und diese gehört für Sie nicht dazu. Es wurde nichts gespeichert.`,
      `Bitten Sie die Administration Ihrer Organisation bei ${provider} um die Freigabe. Kehren Sie dann zum Agenten zurück und wiederholen Sie Ihren Auftrag.`,
    ],
  }),
  stronger: (provider) => ({
    title: `${provider} verlangt eine andere Anmeldung`,
    lines: [
      `${provider} hat die Art Ihrer Anmeldung nicht akzeptiert: Möglicherweise wird ein zweiter Faktor verlangt oder ein Gerät, das Ihre Organisation verwaltet. Es wurde nichts gespeichert.`,
      'Öffnen Sie erneut den Link, den Sie vom Agenten erhalten, und melden Sie sich so an, wie es dort verlangt wird.',
    ],
  }),
  clientRefused: (provider) => ({
    title: `${provider} akzeptiert diese Anwendung nicht`,
    lines: [
      'Sie ist dort nicht so registriert, wie sie hier eingerichtet ist; deshalb wurde nichts gespeichert. Sie können das nicht selbst beheben, und ein neuer Versuch hilft nicht.',
      'Informieren Sie Ihre Administration: Die Ursache steht im Protokoll zu diesem Vorgang.',
    ],
  }),
  brokenCallback: {
    title: 'Diese Antwort ist nicht verwendbar',
    lines: [
      'Sie gehört zu keiner Verbindung, die in diesem Browser begonnen wurde, oder sie wurde schon verwendet. Es wurde nichts geändert.',
      'Öffnen Sie den Link, den Sie vom Agenten erhalten haben, noch einmal in diesem Browser.',
    ],
  },
  signInFailed: {
    title: 'Die Anmeldung ist fehlgeschlagen',
    lines: [
      'Es wurde nichts geändert. Öffnen Sie den Link, den Sie vom Agenten erhalten haben, noch einmal, um von vorn zu beginnen.',
    ],
  },
  refusedForm: {
    title: 'Dieses Formular ist nicht mehr verwendbar',
    why: 'Es wurde von einer anderen Seite aus abgeschickt, oder Ihre Anmeldung ist inzwischen beendet oder eine andere. Es wurde nichts geändert.',
    link: 'Öffnen Sie den Link, den Sie vom Agenten erhalten haben, noch einmal.',
    again: 'Seite neu öffnen',
  },
  stray: {
    title: 'Dieser Browser hat diese Seite nicht angefordert',
    lines: [
      'Ihre Anmeldung galt einem anderen Browser oder hat zu lange gedauert. Es wurde nichts angezeigt.',
      'Falls Sie jemand hierher geschickt hat, informieren Sie Ihr Sicherheitsteam.',
    ],
    own: 'Eigene Verbindungen ansehen',
  },
  signedOut: {
    title: 'Sie sind hier abgemeldet',
    lines: [
      'Ihre Organisation erkennt diesen Browser möglicherweise noch: Melden Sie sich an einem gemeinsam genutzten Computer auch dort ab.',
    ],
  },
  notFound: { title: 'Hier gibt es nichts', lines: ['Prüfen Sie die Adresse.'] },
  failure: {
    title: 'In deputy ist ein Fehler aufgetreten',
    lines: [
      'Es wurde nichts abgeschlossen. Versuchen Sie es noch einmal. Geschieht es wieder, informieren Sie Ihre Administration.',
    ],
  },

  code: {
    title: 'Sitzen Sie am Terminal?',
    intro: (command) =>
      html`Das Terminal, in dem deputy läuft, zeigt einen Code an. Sie können ihn auch mit
        <code>${command}</code> abrufen.`,
    wrong: 'Das ist nicht der richtige Code. Jeder Code gilt nur einmal.',
    wait: 'Zu viele falsche Codes. Warten Sie eine Minute und versuchen Sie es dann noch einmal.',
    name: 'Diesen Namen kann kein Agent für Sie verwenden.',
    user: 'Ihr Name, wie ihn Agenten verwenden',
    hint: 'Acht Buchstaben und Ziffern, zum Beispiel ABCD-EFGH.',
    label: 'Code',
    submit: 'Weiter',
  },

  index: {
    what: 'Hier verbinden Menschen ihre eigenen Konten, damit ein Agent in ihrem Namen handeln kann, ohne je ihre Zugangsdaten zu besitzen.',
    how: 'Um ein Konto zu verbinden, öffnen Sie den Link, den Sie von Ihrem Agenten erhalten haben.',
  },

  problem: {
    todo: 'Was zu tun ist',
    detail: (member) =>
      html`Die Antwort, die Sie hierher geführt hat, enthält ein Feld <code>${member}</code>, das
        die genaue Ursache nennt.`,
  },
  problems,

  mine: {
    title: 'Meine Verbindungen',
    none: 'Es ist kein Konto verbunden.',
    intro:
      'Diese Konten dürfen von den jeweils genannten Agenten genutzt werden. Eine Trennung wirkt sofort, auch auf das, was ein Agent gerade tut.',
    connectedAs: (of) => html`Verbunden als <strong>${of}</strong>.`,
    connection: (called) => `Verbindung ${called}`,
    withdrawn: (provider) =>
      `${provider} hat diese Berechtigung zurückgezogen. Ein Agent, der sie braucht, gibt Ihnen einen Link, mit dem Sie das Konto neu verbinden.`,
    noAgent: 'Kein Agent darf es nutzen.',
    never: 'Noch nie',
    may: (agent) => `Was ${agent} tun darf`,
    signedInAs: (person, note) => html`Angemeldet als <strong>${person}</strong>${note}.`,
  },

  agent: {
    title: 'Meine Agenten',
    none: 'Kein Agent darf für Sie handeln.',
    intro: 'Diese Agenten dürfen für Sie handeln:',
    owned: 'Agenten, die Ihnen gehören',
    id: 'Kennung',
    owner: 'Besitzer',
    contact: 'Kontakt',
    workload: 'Läuft als',
    unknown:
      'Ihre Organisation kennt diesen Agenten nicht: Niemand hat dort gesagt, wer er ist. Fahren Sie nur fort, wenn Sie es wissen.',
    offSince: (by) =>
      by === 'owner'
        ? 'Von seinem Besitzer abgeschaltet. Nichts von ihm wird durchgelassen seit'
        : 'Von einem Operator abgeschaltet. Nichts von ihm wird durchgelassen seit',
    forYou: 'Was er für Sie tun darf',
    nothing: 'Nichts.',
    everybody: 'Für wen er handeln darf',
    count: (people, connections) =>
      `${people === 1 ? '1 Person' : `${people} Personen`} Ihrer Organisation, an ${connections === 1 ? '1 Verbindung' : `${connections} Verbindungen`}.`,
    more: (people) => `und ${people} weitere`,
    notYours: 'Ein Operator hat ihn abgeschaltet: Nur ein Operator kann ihn wieder einschalten.',
    sureStop: (agent) => ({
      title: `${agent} für Sie anhalten?`,
      told: `${agent} kann danach nicht mehr für Sie handeln, und alles, was er gerade für Sie tut, wird abgebrochen. Ihre Konten bleiben verbunden; andere Personen und Agenten arbeiten weiter.`,
      button: `${agent} für mich anhalten`,
    }),
    sureOff: (agent) => ({
      title: `${agent} für alle abschalten?`,
      told: `Von ${agent} wird nichts mehr durchgelassen, für niemanden, und alles, was er gerade tut, wird binnen einer Sekunde abgebrochen. Was ihm erlaubt wurde, bleibt gespeichert, bis er wieder eingeschaltet wird.`,
      button: `${agent} für alle abschalten`,
    }),
    sureOn: (agent) => ({
      title: `${agent} wieder einschalten?`,
      told: `${agent} darf wieder für alle handeln, die es ihm erlaubt haben.`,
      button: `${agent} wieder einschalten`,
    }),
    told: {
      stopped: (agent) =>
        `${agent} kann nicht mehr für Sie handeln. Was er gerade für Sie tat, wurde abgebrochen.`,
      off: (agent) => `${agent} ist für alle abgeschaltet.`,
      on: (agent) => `${agent} ist wieder eingeschaltet.`,
      unchanged: (agent) => `${agent}: Nichts wurde geändert, jemand war schneller.`,
    },
  },

  standing: {
    title: 'Während Sie nicht da sind',
    asked: (agent, workload, at) =>
      html`<strong>${agent}</strong> (läuft als ${workload}) möchte Folgendes bei ${at} selbständig
        in Ihrem Namen tun, ohne dass Sie dabei sind und ohne Sie noch einmal zu fragen:`,
    days: (most) => `Für wie viele Tage? Höchstens ${most}, gern auch weniger.`,
    warning:
      'Über jeden einzelnen Aufruf entscheidet weiterhin die Richtlinie Ihrer Organisation. Unter „Meine Verbindungen“ können Sie dies jederzeit verkürzen oder beenden; das wirkt sofort.',
    intro:
      'Diese Programme handeln selbständig in Ihrem Namen. Beenden wirkt sofort, auch auf das, was eines gerade tut.',
    item: (agent, workload) => `${agent}, läuft als ${workload}`,
    until: 'Bis',
    shorter: 'Tage insgesamt, gezählt ab dem Tag der Erlaubnis',
    shorten: 'Verkürzen',
  },

  approval: {
    title: (agent, provider) => `Darf ${agent} das bei ${provider} tun?`,
    intro: (agent) =>
      html`Der Agent <strong>${agent}</strong> will genau einen Aufruf senden, und die Richtlinie
        Ihrer Organisation verlangt vorher die Zustimmung einer Person wie Ihnen. Sie genehmigen nur
        diesen Aufruf, nur einmal und so, wie er unten steht.`,
    givenTitle: 'Sie haben diesen Aufruf genehmigt',
    given:
      'Alles, was die Richtlinie verlangt, ist gesagt. Der Aufruf darf einmal hinaus; bis dahin können Sie es zurücknehmen.',
    for: 'Im Namen von',
    does: 'Was er tut',
    until: 'Antwort bis',
    digest: 'Prüfsumme des Aufrufs',
    why: 'Warum Sie gefragt werden:',
    answers: 'Wer geantwortet hat',
    open: 'noch niemand',
    by: (names) => html`genehmigt von ${names}`,
    warning:
      'Genehmigen Sie ihn nur, wenn Sie alles verstehen, was gesendet wird, und es selbst tun würden. Haben Sie nicht damit gerechnet, lehnen Sie ab und informieren Sie Ihr Sicherheitsteam.',
    parts: (n) => `Ein Aufruf, der ${n} Dinge tut`,
    asked: '(danach werden Sie gefragt)',
    sent: 'Was gesendet wird',
    request: 'Methode und Adresse',
    headers: 'Kopfzeilen',
    adds: (provider) =>
      `deputy fügt das eigene Zugriffstoken der Person für ${provider} hinzu. Kopfzeilen, die die Anfrage nur nummerieren oder verfolgen, sind nicht gezeigt.`,
    body: 'Inhalt',
    noBody: 'Er hat keinen Inhalt.',
    size: (bytes) => `${bytes} Bytes.`,
    mail: 'Die E-Mail darin',
    mailTo: { to: 'An', cc: 'Kopie', bcc: 'Blindkopie' },
    mailAttachments: 'Anhänge',
    mailUnread:
      'Niemand konnte hier lesen, an wen diese E-Mail geht. Stimmen Sie nur zu, wenn Sie es wissen.',
    pretty: 'In Zeilen',
    raw: 'So, wie es gesendet wird',
    unreadable:
      'Das ist kein Text, den ein Mensch lesen könnte, deshalb steht es hier in Base64. Genehmigen Sie es nur, wenn Sie von anderswo wissen, was es ist.',
    yes: 'Diesen Aufruf genehmigen',
    no: 'Ablehnen',
    withdraw: 'Zurücknehmen',
    stranger: {
      title: 'Sie werden hier nicht gefragt',
      lines: [
        'Die Richtlinie fragt zu diesem Aufruf jemand anderen. Deshalb sehen Sie nichts davon, und nichts wurde geändert.',
        'Hat Ihnen jemand diesen Link geschickt, obwohl Sie nichts davon wissen, informieren Sie Ihr Sicherheitsteam.',
      ],
    },
    declined: {
      title: 'Dieser Aufruf wurde abgelehnt',
      lines: [
        'Der Agent weiß Bescheid, und der Aufruf geht nicht hinaus. Sie können diese Seite schließen.',
      ],
    },
    used: {
      title: 'Dieser Aufruf ist hinausgegangen',
      lines: [
        'Er war genehmigt, und die Genehmigung ist verbraucht. Derselbe Aufruf braucht eine neue.',
      ],
    },
    missed: {
      title: 'Nichts wurde geändert',
      lines: [
        'Jemand anderes hat im selben Augenblick geantwortet, oder der Aufruf ist inzwischen hinausgegangen oder beendet.',
        'Öffnen Sie den Link noch einmal, um zu sehen, wie es steht.',
      ],
    },
  },

  stepUp: {
    title: 'Melden Sie sich noch einmal an, stärker als bisher',
    intro: (agent) =>
      html`<strong>${agent}</strong> möchte Folgendes für Sie tun, und die Richtlinie Ihrer
        Organisation verlangt vorher eine stärkere oder frischere Anmeldung:`,
    how: (minutes) =>
      minutes <= 1
        ? 'Sie gelangen zur Anmeldung Ihrer Organisation und kommen hierher zurück. Sie muss neu sein und eine von diesen:'
        : `Sie gelangen zur Anmeldung Ihrer Organisation und kommen hierher zurück. Sie darf höchstens ${minutes} Minuten alt sein und muss eine von diesen sein:`,
    yes: 'Noch einmal anmelden',
    lacked: {
      acr: 'Sie haben sich angemeldet, aber nicht so stark, wie die Richtlinie es verlangt. Wählen Sie dort ein anderes Verfahren, etwa einen zweiten Faktor.',
      auth_time:
        'Sie haben sich angemeldet, aber Ihre Organisation hat nicht gesagt, wann, oder es ist zu lange her. Versuchen Sie es noch einmal; bleibt es dabei, informieren Sie Ihre Administration.',
    },
    done: {
      title: 'Sie haben sich wie verlangt angemeldet',
      lines: ['Der Agent kann weiterarbeiten. Sie können diese Seite schließen.'],
    },
    declined: {
      title: 'Sie haben sich nicht noch einmal angemeldet',
      lines: ['Der Agent weiß Bescheid. Sie können diese Seite schließen.'],
    },
  },

  sure: {
    cancel: 'Abbrechen',
    signOut: {
      title: 'Hier abmelden?',
      told: 'Ihre Verbindungen bleiben bestehen, und Ihre Agenten arbeiten weiter. Um die Verbindungen hier zu sehen, melden Sie sich wieder an.',
      button: 'Abmelden',
    },
    disconnect: (provider, of) => ({
      title: `${provider} trennen?`,
      told: `Danach kann kein Agent mehr ${of} nutzen, und alles, was dort gerade läuft, wird abgebrochen. Um es wieder zu nutzen, müssen Sie es neu verbinden.`,
      button: `${provider} trennen`,
    }),
    stop: (agent, of) => ({
      title: `${agent} den Zugriff entziehen?`,
      told: `${agent} kann ${of} danach nicht mehr nutzen, und alles, was dieser Agent dort gerade tut, wird abgebrochen. Andere Agenten arbeiten weiter.`,
      button: `${agent} den Zugriff entziehen`,
    }),
    standing: (agent, at) => ({
      title: `${agent} in Ihrer Abwesenheit stoppen?`,
      told: `${agent} kann ohne Sie nichts mehr bei ${at} tun, und was dort gerade läuft, wird abgebrochen. Eine neue Anfrage an Sie bleibt möglich.`,
      button: `${agent} in meiner Abwesenheit stoppen`,
    }),
  },

  ending: {
    revoked: (gone) => [
      `${account(gone)} ist getrennt. ${name(gone.provider)} hat bestätigt, dass der Zugriff entzogen ist.`,
    ],
    access_outlives: (gone) => [
      `${account(gone)} ist getrennt. ${name(gone.provider)} hat bestätigt, dass der Zugriff nicht erneuert wird; was vorher ausgestellt wurde, läuft von selbst ab.`,
    ],
    already_dead: (gone) => [
      `${account(gone)} ist getrennt. ${name(gone.provider)} hatte den Zugriff schon vorher beendet.`,
    ],
    not_supported: (gone) => [
      forgotten(gone),
      `Bei ${at(gone.provider)} lässt sich der Zugriff nicht von hier aus entziehen. ${byHand(gone)}`,
    ],
    failed: (gone) => [
      forgotten(gone),
      `${name(gone.provider)} hat nicht bestätigt, dass der Zugriff entzogen ist. ${byHand(gone)}`,
    ],
    agent: (gone) => [
      `${account(gone)}: ${gone.agent ?? 'Der Agent'} hat keinen Zugriff mehr. Was dort gerade lief, wurde abgebrochen.`,
    ],
    standing: (gone) => [
      `${gone.agent ?? 'Der Agent'} darf in Ihrer Abwesenheit nichts mehr bei ${at(gone.provider)} tun. Was dort lief, wurde abgebrochen.`,
    ],
    shorter: (gone) => [
      `${gone.agent ?? 'Der Agent'} darf in Ihrer Abwesenheit nur noch kürzere Zeit bei ${at(gone.provider)} handeln.`,
    ],
    gone: () => ['Das war schon vorher getrennt worden. Es wurde nichts geändert.'],
  },
}
