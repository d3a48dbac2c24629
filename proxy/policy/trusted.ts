// Files → a bundle that may be tried: signed by whom it must be, now, and not before the one in use.
import type { Clock } from '../model.ts'
import { bundleFromFiles, type Bundle, type BundleFiles } from './bundle.ts'
import { createVerifier, refuseUntimely, type Signed, type Verification } from './signature.ts'

/** `signed` is null where nobody wants a signature. */
export type Trusted = { readonly bundle: Bundle; readonly signed: Signed | null }

export type Trust = {
  /** Rejects with an Error that says what is wrong with the bundle or its signature. */
  readonly read: (files: BundleFiles) => Promise<Trusted>
  /** The same of the bundle that an earlier process kept: the order goes on from it, though it itself may have ended. */
  readonly readKept: (files: BundleFiles) => Promise<Trusted>
  /** This one is in use from now on. */
  readonly use: (trusted: Trusted) => void
}

/**
 * @param verification null: bundles have no signature
 * @param rollback a bundle may be older than the one in use
 */
export const createTrust = (
  verification: Verification | null,
  { rollback, clock }: { readonly rollback: boolean; readonly clock: Clock },
): Trust => {
  const verify = verification === null ? null : createVerifier(verification)
  let floor: number | null = null
  const read = async (files: BundleFiles, kept: boolean): Promise<Trusted> => {
    const signed = verify === null ? null : await verify(files)
    if (kept) floor = signed?.issuedAt ?? null
    if (signed !== null) refuseUntimely(signed, clock.now(), rollback ? null : floor)
    return { bundle: bundleFromFiles(files, signed !== null), signed }
  }
  return {
    read: (files) => read(files, false),
    readKept: (files) => read(files, true),
    use: ({ signed }) => {
      floor = signed?.issuedAt ?? null
    },
  }
}
