/** Who uses the console, and what this server can do. */
import { computed, signal } from "@preact/signals";
import { call, get, Problem, remove, whenSignedOut } from "./api";

export interface Me {
  subject: { kind: "user" | "operator" | string; id: string | null; name: string };
  groups: Array<{ id: string; admin: boolean; name?: string }>;
  credential: { kind: string; id: string; scopes: string[]; expires_at: string | null };
  limits: { upload_bytes: number | null };
  features: string[];
  volumes: string[];
  version: string;
}

/** undefined: not asked yet; null: signed out. */
export const me = signal<Me | null | undefined>(undefined);
/** Why the person has to sign in again; null without a reason. */
export const endedBy = signal<Problem | null>(null);
export const isOperator = computed(() => me.value?.subject.kind === "operator");

/** Whether the server has a feature, by the word of `/v1/me`. */
export const can = (feature: string) => me.value?.features.includes(feature) ?? false;
/** Whether the credential has a scope. */
export const hasScope = (scope: string) => me.value?.credential.scopes.includes(scope) ?? false;

whenSignedOut((problem) => {
  if (me.value) endedBy.value = problem;
  me.value = null;
});

export async function begin(): Promise<void> {
  try {
    me.value = await get<Me>("/v1/me", { quiet: true });
    endedBy.value = null;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) me.value = null;
    else throw error;
  }
}

/** Exchange a key or token for the cookie of a sign-in. */
export async function signIn(key: string): Promise<void> {
  const headers = { Authorization: `Bearer ${key}` };
  await call("POST", "/v1/signin", { headers, quiet: true });
  await begin();
}

/** Whether a one-time link was used before, or is too old. */
export const linkFailed = signal(false);

/** Take the sign-in of a one-time link, whose code is in the fragment of the address. */
export async function signInByLink(): Promise<void> {
  const [code = "", verifier = ""] = location.hash.replace(/^#code=/, "").split(".");
  // The code is out of the address and the history before it is used.
  history.replaceState(null, "", location.pathname + location.search);
  await call("POST", "/v1/signin/code", { body: { code, verifier }, quiet: true });
}

export async function signOut(): Promise<void> {
  await remove("/v1/signin", { quiet: true });
  endedBy.value = null;
  me.value = null;
}
