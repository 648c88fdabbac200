/** The account: keys, sign-ins and links of the person, and what the person likes. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get, post, remove } from "../lib/api";
import { useLoad, type Load } from "../lib/load";
import { can, hasScope, me } from "../lib/session";
import { prefer, taste, type Density, type Theme } from "../lib/taste";
import type { Language } from "../lib/text";
import { t, type TextKey } from "../texts";
import { Button, Choice, Field, IconButton, State, Time } from "../ui/controls";
import { ask, Dialog, FormDialog, openDialog } from "../ui/dialog";
import { copyText, Empty, Notice, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { Fact } from "./jobs";
import { LinkItems, type LinkRow } from "./share";

interface Key {
  id: string;
  name: string;
  scopes: string[];
  created_at: string;
  expires_at: string;
  last_used_at: string | null;
  last_used_from: string | null;
  revoked_at: string | null;
}
interface SignIn {
  id: string;
  current: boolean;
  last_used_at: string;
  expires_at: string;
  address: string;
  agent: string;
}

export function Account() {
  useEffect(() => {
    document.title = `${t("account")} · vfolder`;
  }, []);
  const who = me.value!;
  return (
    <section class="column">
      <h1>{t("account")}</h1>
      <dl class="facts">
        <Fact name={t("column.name")}>{who.subject.name || "–"}</Fact>
        <Fact name={t("account.id")}><code>{who.subject.kind}:{who.subject.id}</code></Fact>
        <Fact name={t("account.groups")}>{who.groups.length ? who.groups.map((one) => one.id.slice(0, 8)).join(", ") : "–"}</Fact>
      </dl>
      <Likes />
      {hasScope("keys") && <Keys />}
      <SignIns />
      {can("links") && <MyLinks />}
      <p class="muted">vfolder {who.version}</p>
    </section>
  );
}

function Likes() {
  const { theme, density, language, letters } = taste.value;
  return (
    <>
      <h2>{t("account.look")}</h2>
      <div class="row">
        <Choice<Theme> label={t("theme")} value={theme} options={[["system", t("theme.system")], ["light", t("theme.light")], ["dark", t("theme.dark")]]} onChange={(value) => prefer({ theme: value })} />
        <Choice<Density> label={t("density")} value={density} options={[["normal", t("density.normal")], ["dense", t("density.dense")]]} onChange={(value) => prefer({ density: value })} />
        <Choice<Language | "system"> label={t("language")} value={language} options={[["system", t("theme.system")], ["en", "English"], ["ko", "한국어"]]} onChange={(value) => prefer({ language: value })} />
      </div>
      <label class="tick"><input type="checkbox" checked={letters} onChange={(event) => prefer({ letters: event.currentTarget.checked })} />{t("account.letters")}</label>
    </>
  );
}

// -- Keys ------------------------------------------------------------------------------------------
function Keys() {
  const load = useLoad("keys", (signal) => get<{ keys: Key[] }>("/v1/keys", { signal }));
  return (
    <>
      <div class="bar">
        <h2>{t("keys")}</h2>
        <div class="space" />
        <Button icon="key" onClick={() => openDialog((close) => <NewKey onClose={close} changed={load.reload} />)}>{t("keys.make")}</Button>
      </div>
      <Part load={load} rows={2} empty={(data) => (data.keys.length ? null : <Empty icon="key" text={t("keys.none")} />)}>
        {(data) => <ul class="items">{data.keys.map((one) => <KeyItem key={one.id} item={one} load={load} />)}</ul>}
      </Part>
    </>
  );
}

function ends(item: Key): [kind: "ok" | "bad" | "idle", text: TextKey] {
  if (item.revoked_at) return ["bad", "keys.revoked"];
  return Date.parse(item.expires_at) < Date.now() ? ["idle", "keys.expired"] : ["ok", "keys.valid"];
}

function KeyItem({ item, load }: { item: Key; load: Load<{ keys: Key[] }> }) {
  const [kind, text] = ends(item);
  const name = item.name || item.id;
  const revoke = async () => {
    if (!(await ask({ title: t("keys.revoke.title", { name }), body: <p>{t("keys.revoke.body")}</p>, confirm: t("keys.revoke"), danger: true }))) return;
    await remove(`/v1/keys/${item.id}`).catch((error) => toastProblem(error, name));
    load.reload();
  };
  const rotate = async () => {
    try {
      const { key } = await post<{ key: string }>(`/v1/keys/${item.id}/rotate`, {});
      load.reload();
      showOnce(key);
    } catch (error) {
      toastProblem(error, name);
    }
  };
  return (
    <li class="line">
      <div class="grow"><strong>{name}</strong> {item.name && <code class="muted">{item.id}</code>}<p class="muted">{item.scopes.join(", ")}</p></div>
      <State kind={kind}>{t(text)}</State>
      <span class="muted">{t("until")} <Time at={item.expires_at} /></span>
      <span class="muted">{t("keys.used")} <Time at={item.last_used_at} /></span>
      {kind === "ok" && <IconButton icon="refresh" label={t("keys.rotate.of", { name })} onClick={() => void rotate()} />}
      {kind === "ok" && <IconButton icon="close" label={t("keys.revoke.of", { name })} onClick={() => void revoke()} />}
    </li>
  );
}

function showOnce(key: string): void {
  openDialog((close) => (
    <Dialog title={t("keys.once.title")} onClose={close}>
      <div class="body">
        <Notice kind="warn"><p>{t("keys.once")}</p></Notice>
        <div class="once">
          <code>{key}</code>
          <Button icon="copy" data-first onClick={() => void copyText(key).then(() => toast(t("copied")))}>{t("keys.copy")}</Button>
        </div>
      </div>
    </Dialog>
  ));
}

function NewKey({ onClose, changed }: { onClose: () => void; changed: () => void }) {
  const name = useSignal("");
  const days = useSignal("");
  const all = me.value!.credential.scopes.filter((one) => !one.startsWith("admin:"));
  const scopes = useSignal<string[]>(all);
  return (
    <FormDialog title={t("keys.make")} confirm={t("keys.make")} onClose={onClose} disabled={!scopes.value.length || !name.value.trim()}
      onConfirm={async () => {
        const made = await post<{ key: string }>("/v1/keys", { name: name.value.trim(), scopes: scopes.value, ...(days.value ? { expires_in_days: Number(days.value) } : {}) });
        changed();
        setTimeout(() => showOnce(made.key));
      }}>
      <Field label={t("column.name")} hint={t("keys.name.hint")}>
        {(ids) => <input {...ids} data-first maxLength={200} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />}
      </Field>
      <Choice label={t("keys.days")} value={days.value} options={[["", t("keys.days.usual")], ...["1", "7", "30"].map((one): [string, string] => [one, t("days", { n: Number(one) })])]}
        onChange={(value) => (days.value = value)} />
      <fieldset>
        <legend>{t("keys.scopes")}</legend>
        {all.map((one) => (
          <label key={one} class="tick">
            <input type="checkbox" checked={scopes.value.includes(one)}
              onChange={(event) => (scopes.value = event.currentTarget.checked ? [...scopes.value, one] : scopes.value.filter((other) => other !== one))} />
            <code>{one}</code>
          </label>
        ))}
      </fieldset>
    </FormDialog>
  );
}

// -- Sign-ins and links ----------------------------------------------------------------------------
function SignIns() {
  const load = useLoad("sign-ins", (signal) => get<{ sign_ins: SignIn[] }>("/v1/signins", { signal }));
  const end = (one: SignIn) => void remove(`/v1/signins/${one.id}`).then(load.reload, (error) => toastProblem(error));
  return (
    <>
      <h2>{t("sign-ins")}</h2>
      <Part load={load} rows={2}>
        {(data) => (
          <ul class="items">
            {data.sign_ins.map((one) => (
              <li key={one.id} class="line">
                <div class="grow"><strong>{one.current ? t("sign-ins.this") : one.address}</strong><p class="muted cut" title={one.agent}>{one.agent}</p></div>
                <span class="muted">{t("keys.used")} <Time at={one.last_used_at} /></span>
                {!one.current && <Button onClick={() => end(one)}>{t("sign-ins.end")}</Button>}
              </li>
            ))}
          </ul>
        )}
      </Part>
    </>
  );
}

function MyLinks() {
  const load = useLoad("links", (signal) => get<{ links: LinkRow[] }>("/v1/links", { signal }));
  return (
    <>
      <h2>{t("links.mine")}</h2>
      <Part load={load} rows={2} empty={(data) => (data.links.some((one) => !one.revoked_at) ? null : <p class="muted">{t("links.none")}</p>)}>
        {(data) => <LinkItems links={data.links} reload={load.reload} />}
      </Part>
    </>
  );
}
