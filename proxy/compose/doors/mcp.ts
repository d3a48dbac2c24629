// The door for MCP hosts, loaded when the first of them comes.
import type { RequestListener } from 'node:http'
import { follow } from '../../follow.ts'
import type { Access } from '../../model.ts'
import { clientCertificate } from '../../net/client_certificate.ts'
import { Problem } from '../../problem.ts'
import { tagOnly } from '../../pipeline/standing.ts'
import type { McpDeps } from '../../tools/mcp.ts'
import { createMcpSessions } from '../../wire/mcp_session.ts'
import type { Consent } from '../consent.ts'
import type { Core } from '../core.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Configured } from '../scope.ts'
import type { Tools } from '../../tools/doors.ts'

/** Is this target of the agents' listeners for this door? */
export const isMcp = (target: string): boolean =>
  /^\/(?:mcp|\.well-known\/oauth-protected-resource)(?:[/?]|$)/.test(target)

const depsOf = async (
  { config, clock, log, version }: Configured,
  { newId, agents, calls, rate, evidence, sealer }: Core,
  { session }: Consent,
  { pipeline, tools }: { readonly pipeline: Pipeline; readonly tools: Tools },
): Promise<McpDeps> => {
  const { createMcpStates } = await import('../../tools/mcp_state.ts')
  const { ENDPOINTS } = await import('../../tools/endpoint.ts')
  const key = (what: string): Buffer => Buffer.from(sealer.hmac('mcp', what), 'base64url')
  const { endpoints } = config.tools
  const maxAge = (access: Access): number => config.entitlements?.max_age[access] ?? 0
  return {
    endpoints: endpoints.length === 0 ? ENDPOINTS : endpoints,
    catalogue: tools.catalogue,
    visible: tools.visible,
    described: tools.described,
    run: tools.run,
    identify: (req) =>
      follow(
        pipeline.identify.identify(req.rawHeaders, null, clientCertificate(req.socket)),
        ({ who }) => who,
      ),
    enter: ({ person, agent, run, standing = null }) =>
      calls.enter({ id: newId(), person, agent, run, standing, connection: '' }),
    agentOn: ({ agent, person }) => agents.allowed(agent, person.tenant),
    rate: ({ person }) => rate(person.tenant),
    tagOnly,
    ttl: async (who, accesses) => {
      const all = [...accesses]
      const most = Math.min(...all.map(maxAge))
      if (all.length === 0 || most <= 0) return 0
      try {
        return Math.max(0, most - (await pipeline.entitlements(who, all)).ageMs())
      } catch (error) {
        if (error instanceof Problem) return 0
        throw error
      }
    },
    sessions: createMcpSessions({ key: key('door-session') }),
    states: createMcpStates({ key: key('door-state'), now: clock.now }),
    issuers: config.identity.issuers.map(({ issuer }) => issuer),
    most: config.limits.inspected_body,
    version,
    typeBase: session.publicUrl,
    newId,
    refused: evidence.refused,
    log,
  }
}

export const mcpDoor = (
  scope: Configured,
  core: Core,
  consent: Consent,
  made: { readonly pipeline: Pipeline; readonly tools: Tools },
): RequestListener => {
  let door: RequestListener | null = null
  let loading: Promise<RequestListener> | null = null
  const load = async (): Promise<RequestListener> => {
    const [{ createMcp }, deps] = await Promise.all([
      import('../../tools/mcp.ts'),
      depsOf(scope, core, consent, made),
    ])
    return (door = createMcp(deps))
  }
  return (req, res) => {
    if (door !== null) {
      door(req, res)
      return
    }
    loading ??= load()
    loading
      .then((loaded) => loaded(req, res))
      .catch((error: unknown) => {
        loading = null
        scope.log.error({ err: error }, 'the door for MCP hosts could not be loaded')
        res.destroy()
      })
  }
}
