/** People: one user with its keys, whether it is blocked, and where to look further. */
import { useSignal } from "@preact/signals";
import { get, post } from "../lib/api";
import { UNKNOWN } from "../lib/format";
import { useLoad } from "../lib/load";
import { go, path, place, setQuery } from "../lib/router";
import { Button, State, Time } from "../ui/controls";
import { Part } from "../ui/parts";
import { askWhy, Box, Head, Table, whyNot } from "./parts";
import { t } from "./text";

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
interface Found {
  subjects: Array<{ kind: "user" | "group"; id: string; name: string | null }>;
}

export function People(_: { segments: string[] }) {
  const { user = "", q = "" } = place.value.query;
  const text = useSignal(user || q);
  const isId = /^(user:)?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
  return (
    <section class="dashboard">
      <Head title={t("people")} />
      <form class="filters" role="search" onSubmit={(event) => {
        event.preventDefault();
        const given = text.value.trim();
        setQuery(isId.test(given) ? { user: given.replace(/^user:/, ""), q: null } : { q: given || null, user: null });
      }}>
        <label class="inline wide"><span>{t("people.find")}</span>
          <input value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <Button type="submit" icon="search">{t("people.show")}</Button>
      </form>
      {user ? <OneUser key={user} id={user} /> : q ? <Matches q={q} /> : <p class="muted">{t("people.hint")}</p>}
      <BreakGlass />
    </section>
  );
}

/** Read one folder for a quarter of an hour; its owner gets the reason. */
function BreakGlass() {
  const folder = useSignal("");
  const why = whyNot();
  const open = () => {
    const ref = folder.value.trim();
    askWhy({
      title: t("glass.title", { name: ref }), body: <p>{t("glass.body")}</p>, confirm: t("glass"), danger: true,
      run: async (reason) => { await post(`/v1/vfolders/${encodeURIComponent(ref)}/break-glass`, { reason }); go(path(["f", ref])); },
      done: t("glass.done"),
    });
  };
  return (
    <Box title={t("glass.box")}>
      <p class="muted">{t("glass.hint")}</p>
      <form class="filters" onSubmit={(event) => { event.preventDefault(); if (folder.value.trim()) open(); }}>
        <label class="inline wide"><span>{t("glass.folder")}</span>
          <input value={folder.value} placeholder="VOLUME:ID" onInput={(event) => (folder.value = event.currentTarget.value)} />
        </label>
        <Button type="submit" icon="eye" disabled={Boolean(why) || !folder.value.trim()} title={why}>{t("glass")}</Button>
      </form>
    </Box>
  );
}

function Matches({ q }: { q: string }) {
  const load = useLoad(`subjects ${q}`, (signal) => get<Found>("/v1/subjects", { query: { q }, signal }));
  return (
    <Part load={load} rows={3} empty={(data) => (data.subjects.some((one) => one.kind === "user") ? null : <p class="muted">{t("people.none")}</p>)}>
      {(data) => (
        <ul class="attention">
          {data.subjects.filter((one) => one.kind === "user").map((one) => (
            <li key={one.id}><a href={path(["op", "people"], { user: one.id })}>{one.name ?? one.id}</a> <code>{one.id}</code></li>
          ))}
        </ul>
      )}
    </Part>
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
