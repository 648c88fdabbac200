/** The groups of a person: who is in them, and for group admins who comes and goes. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get, patch, post, remove } from "../lib/api";
import { useLoad, type Load } from "../lib/load";
import { me } from "../lib/session";
import { t } from "../texts";
import { Button, Choice, IconButton } from "../ui/controls";
import { ask } from "../ui/dialog";
import { Empty, Part } from "../ui/parts";
import { toastProblem } from "../ui/toast";
import { shortOf, SubjectField } from "./subjects";

interface Group {
  id: string;
  name: string | null;
  admin: boolean;
  members_kept: boolean;
  links_allowed: boolean;
}
interface Member {
  id: string;
  name: string | null;
  admin: boolean;
}
type Members = { members: Member[] | null };

const titleOf = (group: Group) => group.name ?? shortOf(`group:${group.id}`);
const nameOf = (member: Member) => (member.id === me.value?.subject.id ? t("owner.me") : (member.name ?? shortOf(`user:${member.id}`)));

export function Groups() {
  const load = useLoad("groups", (signal) => get<{ groups: Group[] }>("/v1/groups", { signal }));
  useEffect(() => {
    document.title = `${t("groups")} · vfolder`;
  }, []);
  return (
    <section class="column">
      <h1>{t("groups")}</h1>
      <Part load={load} empty={(data) => (data.groups.length ? null : <Empty icon="users" text={t("groups.none")} />)}>
        {(data) => data.groups.map((one) => <GroupCard key={one.id} group={one} reload={load.reload} />)}
      </Part>
    </section>
  );
}

function GroupCard({ group, reload }: { group: Group; reload: () => void }) {
  const load = useLoad(`members ${group.id}`, (signal) => get<Members>(`/v1/groups/${group.id}/members`, { signal }));
  const name = titleOf(group);
  return (
    <section aria-label={name}>
      <h2>{name} {group.admin && <span class="muted">· {t("groups.admin.you")}</span>}</h2>
      {group.admin && (
        <label class="tick">
          <input type="checkbox" checked={group.links_allowed}
            onChange={(event) => void patch(`/v1/groups/${group.id}`, { links_allowed: event.currentTarget.checked }).catch((error) => toastProblem(error, name)).then(reload)} />
          {t("groups.links")}
        </label>
      )}
      <Part load={load} rows={2} subject={name}>
        {({ members }) => members === null ? <p class="muted">{t("groups.by-token")}</p> : (
          <>
            <ul class="items">{members.map((one) => <MemberItem key={one.id} group={group} member={one} load={load} />)}</ul>
            {group.admin && <AddMember group={group} load={load} />}
          </>
        )}
      </Part>
    </section>
  );
}

const ROLES = (): Array<["member" | "admin", string]> => [["member", t("groups.member")], ["admin", t("groups.admin")]];

function MemberItem({ group, member, load }: { group: Group; member: Member; load: Load<Members> }) {
  const name = nameOf(member);
  const doing = (act: Promise<unknown>) => act.catch((error) => toastProblem(error, name)).then(load.reload);
  const drop = async () => {
    const body = <p>{t("groups.remove.body")}</p>;
    if (!(await ask({ title: t("groups.remove.title", { name, group: titleOf(group) }), body, confirm: t("groups.remove"), danger: true }))) return;
    await doing(remove(`/v1/groups/${group.id}/members/${member.id}`));
  };
  return (
    <li class="line">
      <div class="grow"><strong title={member.id}>{name}</strong></div>
      {group.admin ? (
        <>
          <select aria-label={t("groups.role.of", { name })} value={member.admin ? "admin" : "member"}
            onChange={(event) => void doing(post(`/v1/groups/${group.id}/members`, { user: member.id, admin: event.currentTarget.value === "admin" }))}>
            {ROLES().map(([key, text]) => <option key={key} value={key}>{text}</option>)}
          </select>
          <IconButton icon="close" label={t("groups.remove.of", { name })} onClick={() => void drop()} />
        </>
      ) : <span class="muted">{t(member.admin ? "groups.admin" : "groups.member")}</span>}
    </li>
  );
}

function AddMember({ group, load }: { group: Group; load: Load<Members> }) {
  const who = useSignal("");
  const role = useSignal<"member" | "admin">("member");
  const added = useSignal(0);
  const isUser = who.value.startsWith("user:");
  const add = async () => {
    try {
      await post(`/v1/groups/${group.id}/members`, { user: who.value.slice("user:".length), admin: role.value === "admin" });
      who.value = "";
      added.value += 1;
      load.reload();
    } catch (error) {
      toastProblem(error, shortOf(who.value));
    }
  };
  return (
    <form class="add" onSubmit={(event) => { event.preventDefault(); if (isUser) void add(); }}>
      <SubjectField key={added.value} label={t("groups.add.who")} hint={t("groups.add.hint")} onChange={(word) => (who.value = word)} />
      <div class="row">
        <Choice label={t("groups.role")} value={role.value} options={ROLES()} onChange={(value) => (role.value = value)} />
        <Button type="submit" kind="main" disabled={!isUser}>{t("groups.add")}</Button>
      </div>
    </form>
  );
}
