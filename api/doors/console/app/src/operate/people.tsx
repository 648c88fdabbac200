/** People: all users and groups that are known, and one user with its keys and what it can do. */
import { useSignal } from "@preact/signals";
import { get, post } from "../lib/api";
import { number, UNKNOWN } from "../lib/format";
import { useLoad } from "../lib/load";
import { BASE, go, path, place, setQuery } from "../lib/router";
import { t as common } from "../texts";
import { Button, Choice, Field, State, Time } from "../ui/controls";
import { FormDialog, openDialog } from "../ui/dialog";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part } from "../ui/parts";
import { toast, toastProblem } from "../ui/toast";
import { Explain } from "./explain";
import { askWhy, Box, Head, Table, whyNot } from "./parts";
import { t } from "./text";

/** Users and groups of one page. */
const PAGE = 200;

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
interface User {
  id: string;
  name: string | null;
  blocked: boolean;
  keys: Key[];
}
interface Person {
  kind: "user" | "group";
  id: string;
  name: string | null;
  blocked: boolean;
  keys: number;
  members: number | null;
  /** Folders with a record; null until the index of each volume was built. */
  vfolders: number | null;
}
interface Page {
  people: Person[];
  complete: boolean;
  next: string | null;
}

export function People(_: { segments: string[] }) {
  const { user = "" } = place.value.query;
  return user ? (
    <section class="dashboard">
      <p><a href={`${BASE}/op/people`}>{t("people")}</a></p>
      <Head title={t("people.user")} />
      <OneUser key={user} id={user} />
      <Explain key={`why ${user}`} user={user} />
    </section>
  ) : <Everyone />;
}

const nameOf = (one: Person) => one.name ?? one.id;
const placeOf = (one: Person) => one.kind === "user" ? path(["op", "people"], { user: one.id }) : path(["op", "quota"], { scope: `group:${one.id}` });

function PersonState({ person }: { person: Person }) {
  if (person.kind === "group")
    return <State kind="idle">{person.members === null ? t("people.group") : t("people.group.members", { n: person.members })}</State>;
  return <State kind={person.blocked ? "bad" : "ok"}>{t(person.blocked ? "user.blocked" : "user.active")}</State>;
}

const COLUMNS = (): Array<Column<Person>> => [
  {
    key: "name", title: t("column.name"), width: "minmax(180px, 2fr)",
    cell: (one) => <a class="entry" href={placeOf(one)} tabIndex={-1}><Icon name={one.kind === "user" ? "user" : "users"} class="kind" /><span class="name">{nameOf(one)}</span></a>,
  },
  { key: "state", title: t("column.state"), width: "170px", cell: (one) => <PersonState person={one} /> },
  { key: "vfolders", title: t("column.folders"), width: "130px", end: true, from: 620, cell: (one) => number(one.vfolders) },
  { key: "keys", title: t("keys"), width: "110px", end: true, from: 720, cell: (one) => number(one.keys) },
  { key: "id", title: t("column.id"), width: "minmax(0, 2fr)", from: 900, cell: (one) => <code class="cut">{one.id}</code> },
];

/** All who are known, page by page; filters are the server's, and in the address. */
function Everyone() {
  const { q = "", kind = "", blocked = "" } = place.value.query;
  const asked = { q: q.replace(/^(user|group):/, "") || null, kind: kind || null, blocked: blocked || null };
  const key = JSON.stringify(asked);
  const load = useLoad(key, (signal) => get<Page>("/v1/people", { query: { limit: PAGE, ...asked }, signal }));
  const older = useSignal<{ of: string; people: Person[]; next: string | null }>({ of: "", people: [], next: null });
  const more = older.value.of === key ? older.value : null;
  const next = more ? more.next : load.data?.next ?? null;
  const rows = [...(load.data?.people ?? []), ...(more?.people ?? [])];
  const filtered = Object.values(asked).some(Boolean);
  const show = async () => {
    const page = await get<Page>("/v1/people", { query: { limit: PAGE, cursor: next, ...asked } });
    older.value = { of: key, people: [...(more?.people ?? []), ...page.people], next: page.next };
  };
  return (
    <section class="whole">
      <Head title={t("people")}><BreakGlass /></Head>
      <div class="filters" role="search" aria-label={t("filters")}>
        <label class="inline wide"><span>{t("people.find")}</span>
          <input key={q} defaultValue={q} type="search" onChange={(event) => find(event.currentTarget.value.trim())} />
        </label>
        <Choice label={t("column.kind")} value={kind} onChange={(chosen) => setQuery({ kind: chosen || null })}
          options={[["", t("any")], ["user", t("people.users")], ["group", t("people.groups")]]} />
        <Choice label={t("column.state")} value={blocked} onChange={(chosen) => setQuery({ blocked: chosen || null })}
          options={[["", t("any")], ["true", t("user.blocked")], ["false", t("user.active")]]} />
        {filtered && <Button kind="quiet" icon="close" onClick={() => go(path(["op", "people"]))}>{common("filter.clear")}</Button>}
      </div>
      {load.data?.complete === false && <Notice kind="warn"><p>{t("people.incomplete")}</p></Notice>}
      <Part load={load} empty={() => (rows.length ? null : <Empty icon="users" text={t(filtered ? "people.none" : "people.empty")} />)}>
        {() => (
          <Grid label={t("people")} rows={rows} rowKey={(one) => `${one.kind}:${one.id}`} text={nameOf} columns={COLUMNS()} total={next ? null : rows.length}
            detail={(one) => <><PersonState person={one} />{one.vfolders !== null && <> · {t("people.folders", { n: one.vfolders })}</>}</>} onOpen={(one) => go(placeOf(one))}
            menu={(one) => [
              { label: t("open"), icon: "open", run: () => go(placeOf(one)) },
              { label: t("user.audit"), icon: "log", run: () => go(path(["op", "audit"], one.kind === "user" ? { subject: `user:${one.id}` } : { target: `group:${one.id}` })) },
              one.kind === "user" && { label: t("user.jobs"), icon: "jobs", run: () => go(path(["op", "jobs"], { requester: `user:${one.id}` })) },
            ]} />
        )}
      </Part>
      {next && <div class="acts"><Button onClick={() => void show().catch((error) => toastProblem(error))}>{t("people.more")}</Button></div>}
    </section>
  );
}

/** A whole id leads to its user, also to one that only tokens name; everything else filters. */
function find(text: string): void {
  const isId = /^(user:)?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
  if (isId.test(text)) go(path(["op", "people"], { user: text.replace(/^user:/i, "") }));
  else setQuery({ q: text || null });
}

/** Read one folder for a quarter of an hour; its owner gets the reason. */
function BreakGlass() {
  const why = whyNot();
  return <Button icon="eye" disabled={Boolean(why)} title={why} onClick={() => openDialog((close) => <GlassDialog close={close} />)}>{t("glass.box")}</Button>;
}

function GlassDialog({ close }: { close: () => void }) {
  const folder = useSignal("");
  const reason = useSignal("");
  const ref = folder.value.trim();
  return (
    <FormDialog title={t("glass.title")} confirm={t("glass")} danger disabled={!ref || !reason.value.trim()} onClose={close}
      onConfirm={async () => {
        await post(`/v1/vfolders/${encodeURIComponent(ref)}/break-glass`, { reason: reason.value.trim() });
        toast(t("glass.done"));
        go(path(["f", ref]));
      }}>
      <p>{t("glass.body")}</p>
      <Field label={t("glass.folder")}>
        {(ids) => <input {...ids} value={folder.value} placeholder="VOLUME:ID" required onInput={(event) => (folder.value = event.currentTarget.value)} />}
      </Field>
      <Field label={t("reason")} hint={t("reason.hint")}>
        {(ids) => <input {...ids} value={reason.value} maxLength={500} autocomplete="off" required onInput={(event) => (reason.value = event.currentTarget.value)} />}
      </Field>
    </FormDialog>
  );
}

function OneUser({ id }: { id: string }) {
  const at = `/v1/users/${encodeURIComponent(id)}`;
  const load = useLoad(at, (signal) => get<User>(at, { signal }));
  const why = whyNot();
  const off = { disabled: Boolean(why), title: why };
  const name = load.data?.name ?? id;
  const block = (user: User) => askWhy(user.blocked ? {
    title: t("user.unblock.title", { name }), body: <p>{t("user.unblock.body")}</p>, confirm: t("user.unblock"), optional: true,
    run: async (reason) => { await post(`${at}/unblock`, reason ? { reason } : {}); load.reload(); }, done: t("user.unblock.done", { name }),
  } : {
    title: t("user.block.title", { name }), body: <p>{t("user.block.body", { n: user.keys.filter((one) => !one.revoked_at).length })}</p>,
    back: t("user.block.back"), confirm: t("user.block"), danger: true,
    run: async (reason) => { await post(`${at}/block`, { reason }); load.reload(); }, done: t("user.block.done", { name }),
  });
  const revoke = (key: Key) => askWhy({
    title: t("key.revoke.title", { name: key.name || key.id }), body: <p>{t("key.revoke.body")}</p>, confirm: t("key.revoke"), danger: true,
    run: async (reason) => { await post(`${at}/keys/${key.id}/revoke`, { reason }); load.reload(); }, done: t("key.revoke.done"),
  });
  return (
    <Part load={load} subject={id}>
      {(user) => (
        <>
          <Box title={user.name ?? user.id} aside={<Button icon={user.blocked ? "play" : "pause"} {...off} onClick={() => block(user)}>{t(user.blocked ? "user.unblock" : "user.block")}</Button>}>
            <p><State kind={user.blocked ? "bad" : "ok"}>{t(user.blocked ? "user.blocked" : "user.active")}</State> · <code>{user.id}</code></p>
            <p class="acts">
              <a class="button" href={path(["op", "jobs"], { requester: `user:${user.id}` })}>{t("user.jobs")}</a>
              <a class="button" href={path(["op", "audit"], { subject: `user:${user.id}` })}>{t("user.audit")}</a>
              <a class="button" href={path(["op", "quota"], { scope: `user:${user.id}` })}>{t("quota")}</a>
            </p>
          </Box>
          <Box title={t("keys")}>
            {user.keys.length === 0 ? <p class="muted">{t("keys.empty")}</p> : (
              <Table label={t("keys")} head={[t("column.key"), t("column.state"), t("column.may"), t("column.used-last"), t("column.expires"), t("column.act")]}
                rows={user.keys.map((one) => ({
                  key: one.id,
                  cells: [
                    one.name || one.id,
                    <State kind={one.revoked_at ? "idle" : Date.parse(one.expires_at) < Date.now() ? "warn" : "ok"}>{t(one.revoked_at ? "key.revoked" : Date.parse(one.expires_at) < Date.now() ? "key.expired" : "key.good")}</State>,
                    one.scopes.join(", "), <>{one.last_used_at ? <Time at={one.last_used_at} /> : UNKNOWN}{one.last_used_from && ` · ${one.last_used_from}`}</>,
                    <Time at={one.expires_at} />,
                    <Button kind="quiet" icon="close" disabled={Boolean(why) || one.revoked_at !== null} title={why} onClick={() => revoke(one)}>{t("key.revoke")}</Button>,
                  ],
                }))} />
            )}
          </Box>
        </>
      )}
    </Part>
  );
}
