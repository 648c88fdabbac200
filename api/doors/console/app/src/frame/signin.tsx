/** Signing in: a key is exchanged for a cookie; or the person goes to an issuer. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { address, asProblem, get, type Problem } from "../lib/api";
import { useLoad } from "../lib/load";
import { place } from "../lib/router";
import { endedBy, linkFailed, signIn } from "../lib/session";
import { t, type TextKey } from "../texts";
import { Button, Field } from "../ui/controls";
import { Icon } from "../ui/icon";
import { Notice, ProblemNotice } from "../ui/parts";

interface Method {
  kind: "key" | "token" | "oidc";
  name?: string;
  label?: string;
  url?: string;
}
/** Why an issuer sent a person back without a sign-in. */
const FAILURES: Record<string, TextKey> = {
  denied: "sign-in.oidc.denied", refused: "sign-in.oidc.refused", unavailable: "sign-in.oidc.unavailable", throttled: "sign-in.oidc.throttled",
};

export function SignIn() {
  const key = useSignal("");
  const busy = useSignal(false);
  const problem = useSignal<Problem | null>(null);
  const wait = useSignal(0);
  const methods = useLoad("methods", (signal) => get<{ methods: Method[] }>("/v1/signin/methods", { signal, quiet: true }));
  const issuers = methods.data?.methods.filter((one) => one.kind === "oidc") ?? [];
  const refused = FAILURES[place.value.query.signin_error ?? ""];
  useEffect(() => {
    document.title = `${t("sign-in")} · vfolder`;
    const timer = setInterval(() => (wait.value = Math.max(0, wait.value - 1)), 1000);
    return () => clearInterval(timer);
  }, []);
  const enter = async () => {
    busy.value = true;
    problem.value = null;
    try {
      await signIn(key.value.trim());
      key.value = "";
    } catch (error) {
      problem.value = asProblem(error);
      if (problem.value.status === 429) wait.value = problem.value.retryAfter ?? 2;
    }
    busy.value = false;
  };
  return (
    <main class="sign-in">
      <div class="card">
        <h1><Icon name="folder" />vfolder</h1>
        {endedBy.value && <Notice kind="warn">{t("sign-in.ended")}</Notice>}
        {linkFailed.value && <Notice kind="warn">{t("sign-in.link-used")}</Notice>}
        {refused && <Notice kind="warn">{t(refused)}</Notice>}
        {issuers.map((one) => (
          <a key={one.name} class="button main" href={address(one.url!, { to: location.pathname })}>{t("sign-in.with", { name: one.label ?? one.name ?? "" })}</a>
        ))}
        {issuers.length > 0 && <p class="or muted">{t("sign-in.or")}</p>}
        <form onSubmit={(event) => { event.preventDefault(); if (!busy.value && !wait.value && key.value.trim()) void enter(); }}>
          <input class="visually-hidden" type="text" name="username" autocomplete="username" value="vfolder" tabIndex={-1}
            aria-hidden="true" readOnly />
          <Field label={t("sign-in.key")} hint={t("sign-in.key.hint")}>
            {(ids) => (
              <input {...ids} type="password" name="password" autocomplete="current-password" value={key.value} autofocus required
                spellcheck={false} onInput={(event) => (key.value = event.currentTarget.value)} />
            )}
          </Field>
          <Button type="submit" kind="main" disabled={wait.value > 0} aria-busy={busy.value}>
            {wait.value > 0 ? t("sign-in.wait", { n: wait.value }) : t("sign-in")}
          </Button>
        </form>
        {problem.value && problem.value.status !== 429 && <ProblemNotice problem={problem.value} {...(problem.value.status === 401 ? { next: t("sign-in.refused") } : {})} />}
        {problem.value?.status === 429 && wait.value > 0 && <Notice kind="warn">{problem.value.message}</Notice>}
      </div>
    </main>
  );
}
