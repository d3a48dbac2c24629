// Die Fehlercodes auf Deutsch: titles and advice of the error catalogue (problem.ts) in German.
import type { Texts } from './en.ts'

const row = (title: string, todo: string) => ({ title, todo })
const SOON = 'Wiederholen Sie den Aufruf nach retry_after Sekunden.'
const LATER = 'Versuchen Sie es später noch einmal.'
const LINK = 'Zeigen Sie der Person den Link aus url und wiederholen Sie danach den Aufruf.'

export const problems: Texts['problems'] = {
  request_invalid: row(
    'Die Anfrage lässt sich auf mehrere Arten lesen',
    'Senden Sie einen einfachen Pfad, eine einzige Länge und keine kodierten Trennzeichen. Welcher Teil gemeint ist, steht in detail.',
  ),
  invalid_arguments: row(
    'Mit diesen Angaben kann das Werkzeug nicht aufgerufen werden',
    'Lesen Sie die Einzelheiten, berichtigen Sie, was sie nennen, und rufen Sie erneut auf. Gesendet wurde nichts.',
  ),
  user_mismatch: row(
    'Der Vorgang gehört jemand anderem',
    'Wiederholen Sie ihn nicht: Wer auf Ihrer Seite war, ist nicht die Person, für die der Link bestimmt ist. Was gewährt wurde, ist bereits widerrufen.',
  ),
  user_id_mismatch: row(
    'Der Inhalt nennt eine andere Person als die Kennzeichnung',
    'Lassen Sie user_id weg oder nennen Sie dort die Person aus der Kennzeichnung.',
  ),
  credential_in_body: row(
    'Der Inhalt enthält Zugangsdaten',
    'Entfernen Sie das genannte Feld oder die Kennzeichnung: Die Zugangsdaten liefert deputy.',
  ),
  unauthenticated: row(
    'Für wen ist dieser Aufruf?',
    'Senden Sie eine Kennzeichnung, die die Person nennt. Was an der gesendeten falsch war, steht in detail.',
  ),
  workload_unauthenticated: row(
    'Von welchem Agenten kommt dieser Aufruf?',
    'Senden Sie das eigene Token des aufrufenden Workloads, etwa das seines Service Accounts, bei jedem Aufruf neu gelesen. Was am gesendeten falsch war, steht in detail.',
  ),
  application_unknown: row(
    'Keine Anwendung hat diesen Schlüssel',
    'Senden Sie einen Namen nur zusammen mit dem Schlüssel einer konfigurierten Anwendung: als Authorization: Bearer KEY neben dem Kopf der Kennzeichnung oder als KEY:USER dort, wo das SDK seinen Schlüssel einsetzt.',
  ),
  application_keys_differ: row(
    'Ein Aufruf brachte zwei Schlüssel mit',
    'Senden Sie einen Schlüssel, einmal oder überall denselben; ein Schlüssel ist nie ein Name.',
  ),
  application_beside_tag: row(
    'Ein Schlüssel kam neben einer signierten Kennzeichnung',
    'Senden Sie den Schlüssel mit einem Namen oder die signierte Kennzeichnung allein.',
  ),
  application_user_missing: row(
    'Der Schlüssel nennt keine Person',
    'Nennen Sie die Person: im Kopf der Kennzeichnung, als KEY:USER dort, wo das SDK seinen Schlüssel einsetzt, oder als user_id im Inhalt.',
  ),
  application_tenant_missing: row(
    'Die Anwendung hat mehrere Mandanten',
    'Nennen Sie den Mandanten der Person als Deputy-Tenant.',
  ),
  application_user_refused: row(
    'Die Anwendung darf diese Person nicht nennen',
    'Nennen Sie nur Personen aus people und tenants der Anwendung. Wer deputy betreibt, kann dort ein Muster ergänzen.',
  ),
  standing_refused: row(
    'Die Person hat das dem Workload nicht erlaubt',
    'Wiederholen Sie den Aufruf nicht: Die Person ist nicht da, und was sie diesem Workload erlaubt hat, umfasst ihn nicht oder ist beendet. Bitten Sie sie um eine Erlaubnis, die ihn umfasst, oder senden Sie ihren Tag.',
  ),
  policy_denied: row(
    'Die Richtlinie hat den Aufruf abgelehnt',
    'Wiederholen Sie ihn nicht unverändert. Zeigen Sie die Gründe an; die Administration kann unter decision_id nachsehen.',
  ),
  consent_required: row(
    'Die Person muss das Konto erst verbinden',
    'Zeigen Sie ihr den Link aus url und wiederholen Sie danach den Aufruf (mit Prefer: wait=60 wird auf sie gewartet).',
  ),
  reauthorization_required: row('Der Anbieter hat die Berechtigung zurückgezogen', LINK),
  approval_required: row(
    'Eine bestimmte Person muss diesen Aufruf freigeben',
    'Zeigen Sie dieser Person den Link aus url und wiederholen Sie danach genau denselben Aufruf.',
  ),
  step_up_required: row('Eine stärkere Anmeldung ist nötig', LINK),
  agent_disabled: row(
    'Dieser Agent ist abgeschaltet',
    'Hören Sie auf: Sein Besitzer oder ein Operator hat diesen Agenten abgeschaltet. Nichts von ihm wird durchgelassen, bis sie ihn wieder einschalten.',
  ),
  tenant_quota: row(
    'Der Mandant hat aufgebraucht, was er speichern darf',
    'Nicht wiederholen: Ein Operator erhöht tenants.NAME, oder jemand trennt, was nicht mehr gebraucht wird.',
  ),
  operator_refused: row(
    'Dieser Operator darf das nicht',
    'Verwenden Sie einen Operator, dessen may und tenants es abdecken. Was fehlt, steht in detail.',
  ),
  obligation_refused: row(
    'Die Richtlinie verlangt etwas, das deputy nicht kann',
    'Informieren Sie die Administration: Die Richtlinie nennt eine Auflage, die dieser deputy nicht erfüllen kann.',
  ),
  browser_refused: row(
    'Diese Adresse ist für Programme da, nicht für Webseiten',
    'Rufen Sie sie aus einem Programm auf oder führen Sie den Ursprung unter listeners.origins auf.',
  ),
  route_not_found: row(
    'Kein Anbieter ist unter dieser Adresse erreichbar',
    'Verwenden Sie /{host}/… mit dem Host einer eingerichteten Verbindung.',
  ),
  not_found: row(
    'Unter dieser Kennung gibt es nichts',
    'Lassen Sie sich auflisten, was es gibt, und verwenden Sie eine Kennung von dort.',
  ),
  tool_not_found: row(
    'Dieses Werkzeug gibt es nicht',
    'Verwenden Sie einen der Namen in nearest, oder lassen Sie sich die Werkzeuge auflisten.',
  ),
  authorization_not_found: row(
    'Diesen Vorgang gibt es nicht',
    'Verwenden Sie die Kennung aus der Antwort, die Sie selbst auf authorize erhalten haben, und die Kennzeichnung, mit der Sie den Vorgang begonnen haben.',
  ),
  mcp_session_unknown: row(
    'Diese Sitzung mit dem MCP-Server gibt es nicht',
    'Beginnen Sie eine eigene: Senden Sie initialize ohne Mcp-Session-Id. Eine Sitzung gehört der Person und dem Agenten, die sie eröffnet haben.',
  ),
  method_not_allowed: row(
    'Diese Methode ist hier nicht erlaubt',
    'Verwenden Sie die Methode, die in der Dokumentation steht.',
  ),
  request_timeout: row(
    'Die Anfrage kam nicht rechtzeitig an',
    'Senden Sie sie noch einmal und ohne Unterbrechung: Was zu lange stillsteht, wird aufgegeben.',
  ),
  connection_ambiguous: row(
    'Mehrere Verbindungen führen zu diesem Host',
    'Wählen Sie eine aus: mit /{connection}@{host}/… oder dem Header Deputy-Connection.',
  ),
  authorization_failed: row(
    'Diesen Vorgang wird niemand mehr abschließen',
    'Warten Sie nicht länger: Er endete ohne Zustimmung. Beginnen Sie einen neuen oder wiederholen Sie den Aufruf, um einen neuen Link zu erhalten.',
  ),
  request_too_large: row(
    'Der Inhalt ist größer als erlaubt',
    'Senden Sie weniger; wie viel möglich ist, steht unter limits.request_body und limits.inspected_body.',
  ),
  unsupported_media_type: row(
    'Der Inhalt lässt sich nicht prüfen',
    'Senden Sie ihn als JSON oder als Formular, ohne Content-Encoding oder als gzip.',
  ),
  expectation_failed: row(
    'Diese Erwartung ist nicht erfüllbar',
    'Senden Sie kein Expect oder Expect: 100-continue.',
  ),
  host_refused: row(
    'Das ist nicht die Adresse dieses Zugangs',
    'Verwenden Sie seine eigene Adresse oder führen Sie den Namen unter listeners.names auf.',
  ),
  rate_limited: row(
    'Eine Grenze aus der Richtlinie ist erreicht',
    'Warten Sie retry_after Sekunden.',
  ),
  tenant_busy: row(
    'Der Mandant ruft zu oft auf',
    'Warten Sie retry_after Sekunden; wie viele Aufrufe der Mandant machen darf, steht unter tenants.NAME.calls_per_minute.',
  ),
  too_many_calls: row(
    'Zu viele Aufrufe auf einmal',
    'Rufen Sie weniger gleichzeitig auf; wie viel möglich ist, steht unter limits.calls und limits.calls_per_agent.',
  ),
  headers_too_large: row(
    'Die Header sind größer als erlaubt',
    'Senden Sie weniger Header; wie viele Bytes möglich sind, steht unter limits.headers.',
  ),
  internal: row(
    'In deputy ist ein Fehler aufgetreten',
    'Es wurde nichts gesendet, sofern detail nichts anderes sagt. Nennen Sie dem Betreiber den Wert aus instance.',
  ),
  credential_unavailable: row(
    'Der Anbieter hat kein Token ausgestellt',
    `${LATER} Die Ursache steht im Protokoll des Betreibers.`,
  ),
  upstream_prohibited: row(
    'Die Adresse des Anbieters ist nicht erlaubt',
    'Der Betreiber muss private Adressen unter network.allow_private aufführen.',
  ),
  upstream_unreachable: row('Der Anbieter ist nicht erreichbar', LATER),
  egress_refused: row(
    'Der Egress-Proxy hat die Verbindung abgelehnt',
    'Der Betreiber muss deputy durch den Egress-Proxy lassen.',
  ),
  answer_not_redactable: row(
    'Die Antwort ließ sich nicht bereinigen',
    'Fordern Sie mit einem Aufruf weniger an.',
  ),
  hook_unavailable: row(
    'Ein Hook konnte nicht gefragt werden',
    'Versuchen Sie es später noch einmal. Bleibt es dabei, informieren Sie den Betreiber: Solange wird jeder Aufruf abgelehnt, über den der Hook zu urteilen hat.',
  ),
  partly_done: row(
    'Das Werkzeug brach ab, nachdem es schon etwas getan hatte',
    'Rufen Sie es nicht noch einmal auf: Es täte auch das noch einmal, was unter done steht. Lesen Sie, woran es lag, und fahren Sie dort fort.',
  ),
  configuration_changed: row(
    'Die Konfiguration hat sich geändert, während der Aufruf wartete',
    'Wiederholen Sie den Aufruf: Es entscheidet, was jetzt gilt.',
  ),
  entitlements_unavailable: row(
    'Der Identitätsanbieter war nicht zu erreichen',
    `${LATER} Auf veralteten Angaben wird nichts erlaubt.`,
  ),
  issuer_unavailable: row(
    'Die Schlüssel eines Ausstellers sind nicht lesbar',
    'Versuchen Sie es später mit derselben Kennzeichnung und demselben Token noch einmal; an ihnen liegt es nicht. Die Ursache steht im Protokoll des Betreibers.',
  ),
  workload_unavailable: row(
    'Der Cluster kann nach einem Workload nicht gefragt werden',
    'Versuchen Sie es später mit demselben Token noch einmal; an ihm ist nichts falsch. Die Ursache steht im Protokoll des Betreibers.',
  ),
  clock_wrong: row(
    'Die Uhr des Rechners von deputy geht falsch',
    'Informieren Sie den Betreiber: Die Uhr muss gestellt werden, und falls sie vorging, muss deputy neu gestartet werden.',
  ),
  policy_unavailable: row(
    'Keine Richtlinie konnte entscheiden',
    'Informieren Sie den Betreiber: Die Richtlinie fehlt, ist beschädigt, zu langsam oder fehlerhaft.',
  ),
  vault_unavailable: row('Der Tresor ist nicht lesbar', LATER),
  limits_unavailable: row(
    'Wie weit eine Grenze ausgeschöpft ist, ist nicht bekannt',
    'Versuchen Sie es später wieder: Die Richtlinie begrenzt diesen Aufruf, und die Datenbank, die zählt, ist nicht erreichbar.',
  ),
  audit_unavailable: row(
    'Der Nachweis lässt sich nicht schreiben',
    'Informieren Sie den Betreiber: Ohne Nachweis wird nichts weitergeleitet.',
  ),
  share_used_up: row(
    'Dieser Agent hat seinen Anteil aufgebraucht',
    'Wiederholen Sie den Aufruf nach retry_after Sekunden, mit weniger gleichzeitig: Was nicht endet, belegt den Anteil weiter.',
  ),
  refresh_in_progress: row('Das Token wird gerade erneuert', SOON),
  too_many_held: row('Zu viele Aufrufe warten', SOON),
  draining: row('deputy wird gerade beendet', SOON),
  upstream_timeout: row(
    'Der Anbieter hat zu lange gebraucht',
    'Wiederholen Sie den Aufruf, sofern er sich gefahrlos wiederholen lässt.',
  ),
  http_version_unsupported: row(
    'Diese HTTP-Version wird hier nicht unterstützt',
    'Verwenden Sie HTTP/1.1.',
  ),
}
