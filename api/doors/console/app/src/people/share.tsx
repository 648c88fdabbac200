/** Sharing of a folder: people and groups with a permission and an end, and links for visitors. */
import { useSignal } from "@preact/signals";
import { call, get, patch, post, remove, repeatKey } from "../lib/api";
import { useLoad, type Load } from "../lib/load";
import { shown } from "../lib/names";
import { BASE } from "../lib/router";
import { can } from "../lib/session";
import { t, type TextKey } from "../texts";
import { Button, Choice, Field, IconButton, Time } from "../ui/controls";
import { ask, Dialog, openDialog } from "../ui/dialog";
import { copyText, Notice, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { ownerOf } from "./files";
import { shortOf, SubjectField } from "./subjects";
import { base, folderChanged, may, titleOf, type VFolder } from "./vfolders";

interface Grant {
  id: string;
  to: string;
  permission: "ro" | "rw" | "rwd";
  source: string;
  expires_at: string | null;
  note: string;
}
export interface LinkRow {
  id: string;
  vfolder: string;
  kind: "read" | "drop";
  path: string;
  note: string;
  has_password: boolean;
  max_downloads: number | null;
  downloads: number | null;
  created_at: string;
  expires_at: string;
  revoked_at: string | null;
}

export function share(folder: VFolder, path = ""): void {
  openDialog((close) => <ShareDialog folder={folder} path={path} onClose={close} />);
}

function ShareDialog({ folder, path, onClose }: { folder: VFolder; path: string; onClose: () => void }) {
  const tab = useSignal<"people" | "links">(path ? "links" : "people");
  const end = () => { folderChanged(); onClose(); };
  return (
    <Dialog title={t("share.title", { name: path ? shown(path) : titleOf(folder) })} wide onClose={end}>
      <div class="body">
        {!may(folder, "owner") ? <NotMine folder={folder} /> : (
          <>
            {can("links") && (
              <div class="acts" role="group" aria-label={t("share.how")}>
                <Button aria-pressed={tab.value === "people"} onClick={() => (tab.value = "people")}>{t("share.people")}</Button>
                <Button aria-pressed={tab.value === "links"} onClick={() => (tab.value = "links")}>{t("share.links")}</Button>
              </div>
            )}
            {tab.value === "people" ? <Grants folder={folder} /> : <Links folder={folder} path={path} />}
          </>
        )}
      </div>
    </Dialog>
  );
}

/** Who does not own a folder sees who does, and what to write to the owner. */
function NotMine({ folder }: { folder: VFolder }) {
  const text = t("share.ask.text", { name: titleOf(folder), id: folder.id });
  return (
    <>
      <p>{t("share.not-mine", { owner: ownerOf(folder) })}</p>
      <div class="acts"><Button icon="copy" onClick={() => void copyText(text).then(() => toast(t("copied")))}>{t("share.ask")}</Button></div>
    </>
  );
}

const PERMISSIONS: Grant["permission"][] = ["ro", "rw", "rwd"];
const permissionOptions = () => PERMISSIONS.map((one): [Grant["permission"], string] => [one, t(`permission.${one}` as TextKey)]);

function Grants({ folder }: { folder: VFolder }) {
  const load = useLoad(`grants ${folder.id}`, (signal) => get<{ grants: Grant[] }>(`${base(folder)}/grants`, { signal }));
  return (
    <>
      <Add folder={folder} load={load} />
      <Part load={load} rows={2} empty={(data) => (data.grants.length ? null : <p class="muted">{t("share.only-you")}</p>)}>
        {(data) => (
          <ul class="items">
            {data.grants.map((one) => <GrantItem key={one.id} folder={folder} grant={one} load={load} />)}
          </ul>
        )}
      </Part>
    </>
  );
}

function GrantItem({ folder, grant, load }: { folder: VFolder; grant: Grant; load: Load<{ grants: Grant[] }> }) {
  const name = shortOf(grant.to);
  const save = (changes: Partial<Grant>) =>
    void patch(`${base(folder)}/grants/${grant.id}`, changes).then(load.reload, (error) => (toastProblem(error, name), load.reload()));
  const revoke = async () => {
    const cancels = { value: false };
    const body = (
      <>
        <p>{t("share.revoke.body")}</p>
        <label class="tick"><input type="checkbox" onChange={(event) => (cancels.value = event.currentTarget.checked)} />{t("share.revoke.jobs")}</label>
      </>
    );
    if (!(await ask({ title: t("share.revoke.title", { name }), body, confirm: t("share.revoke"), danger: true }))) return;
    await remove(`${base(folder)}/grants/${grant.id}`, { query: cancels.value ? { cancel_jobs: "true" } : {} }).catch((error) => toastProblem(error, name));
    load.reload();
  };
  const managed = grant.source !== "local";
  return (
    <li class="line">
      <div class="grow"><strong title={grant.to}>{name}</strong>{grant.note && <span class="muted"> · {grant.note}</span>}{managed && <span class="muted"> · {t("share.managed")}</span>}</div>
      <select aria-label={t("share.permission.of", { name })} value={grant.permission} disabled={managed}
        onChange={(event) => save({ permission: event.currentTarget.value as Grant["permission"] })}>
        {permissionOptions().map(([key, text]) => <option key={key} value={key}>{text}</option>)}
      </select>
      <span class="muted">{grant.expires_at ? <>{t("until")} <Time at={grant.expires_at} /></> : t("share.no-end")}</span>
      {!managed && <IconButton icon="close" label={t("share.revoke.of", { name })} onClick={() => void revoke()} />}
    </li>
  );
}

function Add({ folder, load }: { folder: VFolder; load: Load<{ grants: Grant[] }> }) {
  const to = useSignal("");
  const added = useSignal(0);
  const permission = useSignal<Grant["permission"]>("ro");
  const days = useSignal("");
  const add = async () => {
    try {
      await post(`${base(folder)}/grants`, { to: to.value, permission: permission.value, ...(days.value ? { expires_at: inDays(Number(days.value)) } : {}) });
      added.value += 1;
      to.value = "";
      load.reload();
    } catch (error) {
      toastProblem(error, shortOf(to.value));
    }
  };
  return (
    <form class="add" onSubmit={(event) => { event.preventDefault(); if (to.value) void add(); }}>
      <SubjectField key={added.value} label={t("share.with")} hint={t("share.with.hint")} onChange={(word) => (to.value = word)} />
      <div class="row">
        <Choice label={t("column.permission.give")} value={permission.value} options={permissionOptions()} onChange={(value) => (permission.value = value)} />
        <Choice label={t("share.end")} value={days.value} options={ends()} onChange={(value) => (days.value = value)} />
        <Button type="submit" kind="main" disabled={!to.value}>{t("share.add")}</Button>
      </div>
    </form>
  );
}

const DAY_MS = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString();
const ends = (): Array<[string, string]> => [["", t("share.no-end")], ...["1", "7", "30", "90"].map((one): [string, string] => [one, t("days", { n: Number(one) })])];

// -- Links -----------------------------------------------------------------------------------------
function Links({ folder, path }: { folder: VFolder; path: string }) {
  const load = useLoad(`links ${folder.id}`, (signal) => get<{ links: LinkRow[] }>(`${base(folder)}/links`, { signal }));
  const made = useSignal<string | null>(null);
  return (
    <>
      {made.value && <Made url={made.value} />}
      <NewLink folder={folder} path={path} onMade={(url) => { made.value = url; load.reload(); }} />
      <Part load={load} rows={2} empty={(data) => (data.links.some((one) => !one.revoked_at) ? null : <p class="muted">{t("links.none")}</p>)}>
        {(data) => <LinkItems links={data.links} reload={load.reload} />}
      </Part>
    </>
  );
}

/** The page of a link, for people; the link itself is for programs. */
function pageOf(url: string): string {
  const link = new URL(url, location.href);
  return `${link.origin}${link.pathname.replace(/\/s\/([^/]+)$/, `${BASE}/s/$1`)}`;
}

function Made({ url }: { url: string }) {
  return (
    <Notice kind="ok">
      <p>{t("links.once")}</p>
      <div class="once"><code>{url}</code><Button icon="copy" onClick={() => void copyText(url).then(() => toast(t("copied")))}>{t("links.copy")}</Button></div>
    </Notice>
  );
}

export function LinkItems({ links, reload }: { links: LinkRow[]; reload: () => void }) {
  const revoke = async (one: LinkRow) => {
    const name = one.path || t("folder");
    if (!(await ask({ title: t("links.revoke.title", { name: shown(name) }), body: <p>{t("links.revoke.body")}</p>, confirm: t("links.revoke"), danger: true }))) return;
    await remove(`/v1/links/${one.id}`).catch((error) => toastProblem(error));
    reload();
  };
  return (
    <ul class="items">
      {links.filter((one) => !one.revoked_at).map((one) => (
        <li key={one.id} class="line">
          <div class="grow"><strong>{one.path ? shown(one.path) : t("folder")}</strong>{one.note && <span class="muted"> · {one.note}</span>}</div>
          <span>{t(`links.kind.${one.kind}` as TextKey)}{one.has_password ? ` · ${t("links.password")}` : ""}</span>
          <span class="muted">{t("until")} <Time at={one.expires_at} /></span>
          <span class="muted">{one.max_downloads === null ? t("links.used", { n: one.downloads ?? 0 }) : t("used.of", { used: one.downloads ?? 0, limit: one.max_downloads })}</span>
          <IconButton icon="close" label={t("links.revoke")} onClick={() => void revoke(one)} />
        </li>
      ))}
    </ul>
  );
}

function NewLink({ folder, path, onMade }: { folder: VFolder; path: string; onMade: (url: string) => void }) {
  const kind = useSignal<"read" | "drop">("read");
  const days = useSignal("7");
  const password = useSignal("");
  const downloads = useSignal("");
  const make = async () => {
    try {
      const body = {
        kind: kind.value, path, expires_at: inDays(Number(days.value)),
        ...(password.value ? { password: password.value } : {}),
        ...(downloads.value ? { max_downloads: Number(downloads.value) } : {}),
      };
      const { data } = await call<LinkRow & { url: string }>("POST", `${base(folder)}/links`, { body, headers: repeatKey() });
      password.value = "";
      onMade(pageOf(data.url));
    } catch (error) {
      toastProblem(error, path);
    }
  };
  return (
    <form class="add" onSubmit={(event) => { event.preventDefault(); void make(); }}>
      <p class="muted">{t(`links.explain.${kind.value}` as TextKey)}</p>
      <div class="row">
        <Choice label={t("links.kind")} value={kind.value} options={[["read", t("links.kind.read")], ["drop", t("links.kind.drop")]]} onChange={(value) => (kind.value = value)} />
        <Choice label={t("share.end")} value={days.value} options={ends().slice(1)} onChange={(value) => (days.value = value)} />
        <Field label={t("links.password")}>
          {(ids) => <input {...ids} type="password" autocomplete="new-password" minLength={8} maxLength={200} value={password.value} placeholder={t("links.password.hint")} onInput={(event) => (password.value = event.currentTarget.value)} />}
        </Field>
        {kind.value === "read" && (
          <Field label={t("links.max")}>
            {(ids) => <input {...ids} type="number" min={1} value={downloads.value} placeholder={t("optional")} onInput={(event) => (downloads.value = event.currentTarget.value)} />}
          </Field>
        )}
        <Button type="submit" kind="main" icon="link">{t("links.make")}</Button>
      </div>
    </form>
  );
}
