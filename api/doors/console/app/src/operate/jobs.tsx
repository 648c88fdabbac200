/** Jobs of all requesters, with filters in the address, and one job as a timeline. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { get, problemOf } from "../lib/api";
import { duration, number, rate, size, UNKNOWN } from "../lib/format";
import type { Job } from "../lib/jobs";
import type { News } from "../lib/live";
import { useLoad } from "../lib/load";
import { BASE, go, path, place, setQuery } from "../lib/router";
import { JobState, sentenceOf, verbOf } from "../people/jobs";
import { t as common, type TextKey as CommonKey } from "../texts";
import { Button, Choice, Name, Progress, Time } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part } from "../ui/parts";
import { Selection } from "../ui/selection";
import { toastProblem } from "../ui/toast";
import { onJobs, prioritize } from "./acts";
import { SavedFilters } from "./filters";
import { Box, Head, Table, usePolled, whyNot } from "./parts";
import { t } from "./text";

const LIST_MS = 5000;
const JOB_MS = 2000;
const REPORT_ROWS = 200;
const STATES = ["queued", "running", "cancelling", "succeeded", "partial", "failed", "cancelled"];
const VERBS = ["clone", "transfer", "delete", "delete-files", "extract", "usage", "find", "restore", "purge", "snapshot", "rescan", "adopt", "import", "describe"];

interface Phase {
  name: string;
  seconds: number;
  items: Record<string, number>;
  bytes: Record<string, number>;
}
export type FullJob = Omit<Job, "progress"> & {
  lane: string;
  scope: string | null;
  attempt: number;
  losses: number;
  priority: number;
  node: string | null;
  retry_of: string | null;
  bytes_per_second: number | null;
  deadline_at: string | null;
  progress: (NonNullable<Job["progress"]> & { phases?: Phase[] }) | null;
};
interface JobPage {
  jobs: FullJob[];
  next: string | null;
}

/** The job of news that can be shown as it is; the reason why one waits is only in its own answer. */
function newsOf(news: News): FullJob | undefined {
  const job = news.document as unknown as FullJob | undefined;
  return job && job.state !== "queued" ? job : undefined;
}

/** A list with news in it; undefined: a job came, or one left the list. */
function patched(page: JobPage, news: News, filters: Record<string, string | null>): JobPage | undefined {
  const known = page.jobs.find((one) => one.id === news.id);
  const job = newsOf(news);
  if (known && known.version >= (news.version ?? Infinity)) return page;
  if (!known || !job || (filters.state && filters.state !== job.state)) return undefined;
  return { ...page, jobs: page.jobs.map((one) => (one === known ? job : one)) };
}

export function OperatorJobs({ segments }: { segments: string[] }) {
  return segments[0] ? <OneJob id={segments[0]} /> : <JobList />;
}

const where = (job: FullJob) => job.scope ? `${job.volume} · ${job.scope}` : job.volume;

const COLUMNS = (): Array<Column<FullJob>> => [
  {
    key: "verb", title: common("column.job"), width: "minmax(130px, 1fr)",
    cell: (job) => <a class="entry" href={path(["op", "jobs", job.id])} tabIndex={-1}><Icon name="jobs" class="kind" /><span class="cut">{verbOf(job as Job)}</span></a>,
  },
  { key: "state", title: t("column.state"), width: "130px", cell: (job) => <JobState job={job as Job} /> },
  { key: "volume", title: t("column.volume"), width: "minmax(0, 1fr)", from: 760, cell: (job) => <span class="cut" title={where(job)}>{where(job)}</span> },
  { key: "requester", title: t("column.requester"), width: "130px", from: 980, cell: (job) => <span class="cut" title={job.requester ?? ""}>{job.requester ?? UNKNOWN}</span> },
  { key: "text", title: common("column.progress"), width: "minmax(0, 2fr)", from: 640, cell: (job) => <span class="cut" title={reasonOf(job)}>{reasonOf(job)}</span> },
  { key: "node", title: t("column.node"), width: "100px", from: 1120, cell: (job) => job.node ?? UNKNOWN },
  { key: "created", title: common("column.began"), width: "120px", from: 720, end: true, cell: (job) => <Time at={job.created_at} /> },
];

const reasonOf = (job: FullJob) => (job.state === "queued" && job.state_reason) || sentenceOf(job as Job);

function JobList() {
  const { query } = place.value;
  const filters = { state: query.state ?? null, verb: query.verb ?? null, volume: query.volume ?? null, requester: query.requester ?? null };
  const asked = Object.entries(filters).filter(([, value]) => value).map(([name, value]) => `${name}=${encodeURIComponent(value!)}`).join("&");
  const load = usePolled<JobPage>(`/v1/jobs?limit=200${asked && `&${asked}`}`, LIST_MS, "jobs", (page, news) => patched(page, news, filters));
  const older = useSignal<{ of: string; jobs: FullJob[]; next: string | null }>({ of: asked, jobs: [], next: null });
  const more = older.value.of === asked ? older.value : { of: asked, jobs: [], next: null };
  const next = more.jobs.length ? more.next : load.data?.next ?? null;
  const selection = useMemo(() => new Selection(), [asked]);
  const rows = useMemo(() => {
    const found = new Map<string, FullJob>();
    for (const one of [...(load.data?.jobs ?? []), ...more.jobs]) if (!found.has(one.id)) found.set(one.id, one);
    return [...found.values()];
  }, [load.data, more.jobs]);
  const chosen = rows.filter((one) => selection.keys.value.has(one.id));
  const why = whyNot(load.away);
  const done = () => { selection.clear(); load.reload(); };
  const show = async () => {
    const page = await get<JobPage>("/v1/jobs", { query: { limit: 200, cursor: next, ...filters } });
    older.value = { of: asked, jobs: [...more.jobs, ...page.jobs], next: page.next };
  };
  return (
    <section class={`whole ${load.away ? "away" : ""}`}>
      <Head title={t("jobs.all")} of={load} />
      <Filters query={query} />
      <SavedFilters />
      {chosen.length > 0 && <Chosen jobs={chosen} why={why} done={done} clear={() => selection.clear()} />}
      <Part load={load} empty={() => (rows.length ? null : <Empty icon="jobs" text={t(asked ? "jobs.none" : "jobs.empty")} />)}>
        {() => (
          <Grid label={t("jobs.all")} waits={asked} rows={rows} rowKey={(job) => job.id} text={(job) => verbOf(job as Job)} columns={COLUMNS()}
            total={next ? null : rows.length} selection={selection} onOpen={(job) => go(path(["op", "jobs", job.id]))}
            detail={(job) => <><JobState job={job as Job} /> · {job.volume} · {reasonOf(job)}</>} menu={(job) => acts(job, why, done)} />
        )}
      </Part>
      {next && <div class="acts"><Button onClick={() => void show().catch((error) => toastProblem(error))}>{common("more.older")}</Button></div>}
    </section>
  );
}

function Filters({ query }: { query: Record<string, string> }) {
  const text = (name: "volume" | "requester") => (
    <label class="inline">
      <span>{t(`column.${name}`)}</span>
      <input value={query[name] ?? ""} onChange={(event) => setQuery({ [name]: event.currentTarget.value.trim() || null })} />
    </label>
  );
  return (
    <div class="filters" role="search" aria-label={t("filters")}>
      <Choice label={t("column.state")} value={query.state ?? ""} onChange={(state) => setQuery({ state: state || null })}
        options={[["", t("any")], ...STATES.map((one) => [one, common(`job.${one}` as CommonKey)] as [string, string])]} />
      <Choice label={t("column.verb")} value={query.verb ?? ""} onChange={(verb) => setQuery({ verb: verb || null })}
        options={[["", t("any")], ...VERBS.map((one) => [one, one] as [string, string])]} />
      {text("volume")}
      {text("requester")}
      {Object.keys(query).length > 0 && <Button kind="quiet" icon="close" onClick={() => go(path(["op", "jobs"]))}>{common("filter.clear")}</Button>}
    </div>
  );
}

function Chosen({ jobs, why, done, clear }: { jobs: FullJob[]; why: string | undefined; done: () => void; clear: () => void }) {
  const live = jobs.filter((one) => one.cancellable && !one.done) as Job[];
  const ended = jobs.filter((one) => one.done) as Job[];
  const run = (verb: "cancel" | "pause" | "resume" | "retry", found: Job[]) => onJobs(verb, found, done);
  return (
    <div class="bar chosen" role="toolbar" aria-label={common("selected.acts")}>
      <span>{common("selected", { n: jobs.length })}</span>
      <div class="space" />
      {live.length > 0 && <Button icon="close" disabled={Boolean(why)} title={why} onClick={() => run("cancel", live)}>{t("jobs.cancel", { n: live.length })}</Button>}
      {live.length > 0 && <Button icon="pause" disabled={Boolean(why)} title={why} onClick={() => run("pause", live)}>{t("jobs.pause", { n: live.length })}</Button>}
      {ended.length > 0 && <Button icon="refresh" disabled={Boolean(why)} title={why} onClick={() => run("retry", ended)}>{t("jobs.retry", { n: ended.length })}</Button>}
      <Button kind="quiet" icon="close" onClick={clear}>{common("selected.none")}</Button>
    </div>
  );
}

function acts(job: FullJob, why: string | undefined, done: () => void) {
  const one = [job as Job];
  const off = { disabled: Boolean(why), why };
  return [
    { label: t("open"), icon: "open" as const, run: () => go(path(["op", "jobs", job.id])) },
    !job.done && (job.paused
      ? { label: t("jobs.resume", { n: 1 }), icon: "play" as const, ...off, run: () => onJobs("resume", one, done) }
      : { label: t("jobs.pause", { n: 1 }), icon: "pause" as const, ...off, run: () => onJobs("pause", one, done) }),
    !job.done && { label: t("jobs.cancel", { n: 1 }), icon: "close" as const, danger: true, disabled: off.disabled || !job.cancellable, why: why ?? common("job.cancel.not"), run: () => onJobs("cancel", one, done) },
    job.done && { label: t("jobs.retry", { n: 1 }), icon: "refresh" as const, ...off, run: () => onJobs("retry", one, done) },
  ];
}

interface LogEvent {
  kind: string;
  at: string;
  attempt: number;
  node: string | null;
  text: string | null;
}

function OneJob({ id }: { id: string }) {
  const load = usePolled<FullJob>(`/v1/jobs/${id}`, JOB_MS, "jobs", (job, news) => news.id !== id || job.version >= (news.version ?? 0) ? job : newsOf(news));
  const job = load.data;
  const log = useLoad(job ? `${id} ${job.version}` : null, (signal) => get<{ events: LogEvent[] }>(`/v1/jobs/${id}/log`, { signal }));
  const why = whyNot(load.away);
  const done = (changed: Job[]) => {
    const other = changed.find((one) => one.id !== id);
    if (other) go(path(["op", "jobs", other.id]));
    else load.reload();
  };
  return (
    <section class={`dashboard ${load.away ? "away" : ""}`}>
      <p><a href={`${BASE}/op/jobs`}>{t("jobs.all")}</a></p>
      <Head title={job ? verbOf(job as Job) : id} of={load}>
        {job && <Steer job={job} why={why} done={done} />}
      </Head>
      <Part load={load} subject={id}>
        {(found) => (
          <>
            <p class="health"><JobState job={found as Job} /></p>
            {found.state === "failed" || found.state === "partial"
              ? <Notice kind="warn"><p>{sentenceOf(found as Job)}</p></Notice> : <p>{reasonOf(found)}</p>}
            {!found.done && found.state !== "queued" && <Progress value={found.progress?.percent ?? null} label={common("job.progress.of", { name: verbOf(found as Job) })} />}
            {found.waits_for && <p>{t("job.waits-for")} <a href={path(["op", "jobs", found.waits_for])}><code>{found.waits_for}</code></a></p>}
            {found.retry_of && <p>{t("job.retry-of")} <a href={path(["op", "jobs", found.retry_of])}><code>{found.retry_of}</code></a></p>}
            <JobFacts job={found} />
            <div class="two">
              <Box title={t("timeline")}>
                <Part load={log} rows={3}>{(data) => <Timeline events={data.events} job={found} />}</Part>
              </Box>
              <Box title={t("phases")}><Phases job={found} /></Box>
            </div>
            {found.done && (found.state !== "succeeded" || found.verb === "rescan") && <Report id={id} found={found.verb === "rescan"} />}
            <Box title={t("request")}><pre>{JSON.stringify(found.request, null, 2)}</pre></Box>
          </>
        )}
      </Part>
    </section>
  );
}

function Steer({ job, why, done }: { job: FullJob; why: string | undefined; done: (changed: Job[]) => void }) {
  const one = [job as Job];
  const off = { disabled: Boolean(why), title: why };
  if (job.done)
    return (
      <>
        <Button icon="refresh" {...off} onClick={() => onJobs("retry", one, done)}>{t("jobs.retry", { n: 1 })}</Button>
        {job.verb === "delete-files" && job.state !== "succeeded" && <Button {...off} onClick={() => onJobs("retry-failed", one, done)}>{t("jobs.retry-failed", { n: 1 })}</Button>}
      </>
    );
  return (
    <>
      {job.state === "queued" && (
        <label class="inline">
          <span>{t("priority")}</span>
          <select value={String(job.priority)} disabled={Boolean(why)} title={why} aria-label={t("priority")}
            onChange={(event) => {
              prioritize(job as Job & { priority: number }, Number(event.currentTarget.value), (changed) => done([changed]));
              event.currentTarget.value = String(job.priority);
            }}>
            {Array.from({ length: 10 }, (_, index) => <option key={index} value={index}>{t(`priority.${index === 0 ? "first" : index === 9 ? "last" : "n"}`, { n: index })}</option>)}
          </select>
        </label>
      )}
      {job.paused
        ? <Button icon="play" {...off} onClick={() => onJobs("resume", one, done)}>{t("jobs.resume", { n: 1 })}</Button>
        : <Button icon="pause" {...off} onClick={() => onJobs("pause", one, done)}>{t("jobs.pause", { n: 1 })}</Button>}
      <Button icon="close" disabled={Boolean(why) || !job.cancellable || job.cancel_requested} title={why} onClick={() => onJobs("cancel", one, done)}>{t("jobs.cancel", { n: 1 })}</Button>
    </>
  );
}

function JobFacts({ job }: { job: FullJob }) {
  const facts: Array<[string, preact.ComponentChildren]> = [
    [t("column.volume"), <a href={path(["op", "volumes", job.volume])}>{job.volume}</a>],
    [t("column.lane"), job.lane],
    [t("column.scope"), job.scope ?? UNKNOWN],
    [t("column.requester"), job.requester ?? UNKNOWN],
    [t("column.node"), job.node ?? UNKNOWN],
    [t("attempt"), t("attempt.losses", { n: job.attempt, losses: job.losses })],
    [t("priority"), number(job.priority)],
    [t("job.rate"), rate(job.progress?.bytes_per_second)],
    [common("job.left"), job.progress?.eta_seconds != null && !job.done ? common("about", { what: duration(job.progress.eta_seconds) }) : UNKNOWN],
    [t("job.submitted"), <Time at={job.created_at} />],
    [t("job.started"), <Time at={job.started_at} />],
    [common("job.ended"), <Time at={job.ended_at} />],
    [common("job.id"), <code>{job.id}</code>],
  ];
  return <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

/** A duration whose parts of a second matter. */
const brief = (seconds: number) => seconds < 10 ? t("seconds", { n: Math.round(seconds * 10) / 10 }) : duration(seconds);
const after = (seconds: number) => `+${brief(Math.max(0, seconds))}`;

/** What happened, in order: submitted, claimed, lost, paused … with node and attempt. */
function Timeline({ events, job }: { events: LogEvent[]; job: FullJob }) {
  const begin = Date.parse(job.created_at);
  const first = events[0]?.kind === "submitted" ? [] : [{ kind: "submitted", at: job.created_at, attempt: 0, node: null, text: null }];
  return (
    <ol class="timeline">
      {[...first, ...events].map((one, index) => (
        <li key={index}>
          <span class="after">{after((Date.parse(one.at) - begin) / 1000)}</span>
          <strong>{one.kind}</strong>
          <span class="muted">{[one.attempt ? t("attempt.n", { n: one.attempt }) : "", one.node, one.text].filter(Boolean).join(" · ")}</span>
        </li>
      ))}
    </ol>
  );
}

function Phases({ job }: { job: FullJob }) {
  const phases = job.progress?.phases ?? [];
  if (!phases.length) return <p class="muted">{t("phases.empty")}</p>;
  const all = phases.reduce((sum, one) => sum + one.seconds, 0) || 1;
  const totalOf = (values: Record<string, number>) => Object.values(values).reduce((sum, one) => sum + one, 0);
  return (
    <Table label={t("phases")} head={[t("column.phase"), t("column.time"), t("column.entries"), t("column.bytes")]} rows={phases.map((one, index) => ({
      key: `${index} ${one.name}`,
      cells: [
        one.name,
        <span class="share"><progress aria-label={t("phase.share", { name: one.name })} max={100} value={(one.seconds / all) * 100} /><span>{brief(one.seconds)}</span></span>,
        number(totalOf(one.items)), size(totalOf(one.bytes)),
      ],
    }))} />
  );
}

interface ReportLine {
  path?: string;
  reason?: string;
  attempt?: number;
}

function Report({ id, found }: { id: string; found: boolean }) {
  const load = useLoad(`report ${id}`, async (signal) => {
    const response = await fetch(`/v1/jobs/${id}/report`, { credentials: "same-origin", signal, headers: { Accept: "application/jsonl" } });
    if (!response.ok) throw await problemOf(response);
    const lines = (await response.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line) as ReportLine);
    return lines.filter((one) => one.path !== undefined);
  });
  return (
    <Box title={t(found ? "report.found" : "report")} aside={<a class="button" href={`/v1/jobs/${id}/report?format=csv`} download>{t("report.csv")}</a>}>
      <Part load={load} rows={3} empty={(data) => (data.length ? null : <p class="muted">{t("report.empty")}</p>)}>
        {(data) => (
          <>
            <Table label={t(found ? "report.found" : "report")} head={[t("column.path"), t("column.reason")]}
              rows={data.slice(0, REPORT_ROWS).map((one, index) => ({ key: String(index), cells: [<Name text={one.path!} />, one.reason ?? UNKNOWN] }))} />
            {data.length > REPORT_ROWS && <p class="muted">{t("report.more", { n: data.length - REPORT_ROWS })}</p>}
          </>
        )}
      </Part>
    </Box>
  );
}

