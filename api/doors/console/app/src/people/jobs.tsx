/** The jobs of the person: what runs, what waits and for what, and how it ended. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, get } from "../lib/api";
import { duration } from "../lib/format";
import { cancel, jobs, learn, look, steer, type Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { BASE, go, path, place, setQuery } from "../lib/router";
import { t, type TextKey } from "../texts";
import { Button, Progress, State, Time } from "../ui/controls";
import { ask } from "../ui/dialog";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Notice, Part } from "../ui/parts";
import { toastProblem } from "../ui/toast";

const KINDS = {
  queued: "idle", running: "busy", cancelling: "warn", succeeded: "ok", partial: "warn", failed: "bad", cancelled: "idle",
} as const;

export function JobState({ job }: { job: Job }) {
  return <State kind={KINDS[job.state]}>{t(job.paused && !job.done ? "job.paused" : (`job.${job.state}` as TextKey))}</State>;
}

/** What a job does, as its verb. */
export function verbOf(job: Job): string {
  const key = `verb.${job.verb}` as TextKey;
  const text = t(key);
  return text === key ? job.verb : text;
}

/** The sentence of a job, as the server made it. */
export function sentenceOf(job: Job): string {
  if (job.error?.detail) return job.error.detail;
  if (job.waits_for) return t("job.waits", { what: job.waits_for });
  return job.progress?.text || (job.done ? "" : t("job.begins"));
}

const COLUMNS = (): Array<Column<Job>> => [
  {
    key: "verb", title: t("column.job"), width: "minmax(0, 1fr)",
    cell: (job) => <a class="entry" href={path(["jobs", job.id])} tabIndex={-1}><span class="cut">{verbOf(job)}</span></a>,
  },
  { key: "state", title: t("column.state"), width: "130px", cell: (job) => <JobState job={job} /> },
  { key: "text", title: t("column.progress"), width: "minmax(0, 2fr)", from: 640, cell: (job) => <span class="cut" title={sentenceOf(job)}>{sentenceOf(job)}</span> },
  {
    key: "bar", title: "", width: "110px", from: 820,
    cell: (job) => (job.state === "running" || job.state === "cancelling")
      ? <Progress value={job.progress?.percent ?? null} label={t("job.progress.of", { name: verbOf(job) })} /> : null,
  },
  { key: "created", title: t("column.began"), width: "120px", from: 720, end: true, cell: (job) => <Time at={job.created_at} /> },
];

export function Jobs({ segments }: { segments: string[] }) {
  if (segments[0]) return <OneJob id={segments[0]} />;
  return <JobList />;
}

function JobList() {
  const load = useLoad("jobs", (signal) => look(null, signal));
  const next = useSignal<string | null | undefined>(undefined);
  const more = next.value === undefined ? load.data?.next : next.value;
  useEffect(() => {
    document.title = `${t("nav.jobs")} · vfolder`;
  }, []);
  const only = place.value.query.state === "running";
  const rows = only ? jobs.value.filter((one) => !one.done) : jobs.value;
  return (
    <section class="whole">
      <div class="bar">
        <h1>{t("nav.jobs")}</h1>
        <div class="space" />
        <Button aria-pressed={only} onClick={() => setQuery({ state: only ? null : "running" })}>{t("jobs.only.running")}</Button>
      </div>
      <Part load={load}>
        {() => rows.length === 0 ? <Empty icon="jobs" text={t(only ? "jobs.empty.running" : "jobs.empty")} /> : (
          <Grid label={t("nav.jobs")} waits={String(only)} rows={rows} rowKey={(job) => job.id} text={verbOf} columns={COLUMNS()} total={more ? null : rows.length}
            onOpen={(job) => go(path(["jobs", job.id]))} detail={(job) => <><JobState job={job} /> · {sentenceOf(job)}</>}
            menu={(job) => [
              { label: t("job.open"), icon: "open", run: () => go(path(["jobs", job.id])) },
              !job.done && { label: t("job.cancel"), icon: "close", danger: true, disabled: !job.cancellable, why: t("job.cancel.not"), run: () => void stop(job) },
            ]} />
        )}
      </Part>
      {more && (
        <div class="acts">
          <Button onClick={() => void look(more).then((page) => (next.value = page.next), (error) => toastProblem(error))}>{t("more.older")}</Button>
        </div>
      )}
    </section>
  );
}

async function stop(job: Job): Promise<void> {
  const sure = await ask({ title: t("job.cancel.title", { name: verbOf(job) }), body: <p>{t("job.cancel.body")}</p>, confirm: t("job.cancel"), danger: true });
  if (sure) await cancel(job).catch((error) => toastProblem(error));
}

interface LogEvent {
  kind: string;
  at: string;
  attempt: number;
  node: string | null;
  text: string | null;
}

function OneJob({ id }: { id: string }) {
  const load = useLoad(id, async (signal) => {
    const job = (await call<Job>("GET", `/v1/jobs/${id}`, { signal })).data;
    learn([job]);
    return job;
  });
  const job = jobs.value.find((one) => one.id === id) ?? load.data;
  const log = useLoad(job ? `${id} ${job.state} ${job.started_at}` : null, (signal) => get<{ events: LogEvent[] }>(`/v1/jobs/${id}/log`, { signal }));
  useEffect(() => {
    document.title = `${job ? verbOf(job) : t("nav.jobs")} · vfolder`;
  }, [job?.verb]);
  return (
    <section class="column">
      <p><a href={`${BASE}/jobs`}>{t("nav.jobs")}</a></p>
      <Part load={{ ...load, data: job }} subject={id}>
        {(found) => (
          <>
            <div class="bar">
              <h1>{verbOf(found)}</h1>
              <JobState job={found} />
              <div class="space" />
              {(found.state === "queued" || found.state === "running") && (
                <Button icon={found.paused ? "play" : "pause"} onClick={() => void steer(found, found.paused ? "resume" : "pause").catch((error) => toastProblem(error))}>
                  {t(found.paused ? "job.resume" : "job.pause")}
                </Button>
              )}
              {(found.state === "failed" || found.state === "partial" || found.state === "cancelled") && (
                <Button icon="refresh" onClick={() => void steer(found, "retry").then((again) => go(path(["jobs", again.id])), (error) => toastProblem(error))}>
                  {t("job.retry")}
                </Button>
              )}
              {(found.state === "failed" || found.state === "partial") && (found.progress?.errors ?? 0) > 0 && (
                <a class="button" href={`/v1/jobs/${found.id}/report?format=csv`} download><Icon name="download" /><span>{t("job.report")}</span></a>
              )}
              {!found.done && (
                <Button icon="close" disabled={!found.cancellable || found.cancel_requested} onClick={() => void stop(found)}>
                  {t(found.cancel_requested ? "job.cancelling" : "job.cancel")}
                </Button>
              )}
            </div>
            {found.state === "failed" || found.state === "partial"
              ? <Notice kind="warn"><p>{sentenceOf(found)}</p></Notice> : <p>{sentenceOf(found)}</p>}
            {!found.done && <Progress value={found.progress?.percent ?? null} label={t("job.progress.of", { name: verbOf(found) })} />}
            <dl class="facts">
              <Fact name={t("column.volume")}>{found.volume}</Fact>
              {found.progress && <Fact name={t("job.items")}>{itemsOf(found)}</Fact>}
              {found.progress?.eta_seconds != null && !found.done && <Fact name={t("job.left")}>{t("about", { what: duration(found.progress.eta_seconds) })}</Fact>}
              {found.queue && <Fact name={t("job.queue")}>{t("job.queue.place", { n: found.queue.position ?? found.queue.ahead_at_least + 1 })}</Fact>}
              <Fact name={t("column.began")}><Time at={found.created_at} /></Fact>
              <Fact name={t("job.ended")}><Time at={found.ended_at} /></Fact>
              <Fact name={t("job.id")}><code>{found.id}</code></Fact>
            </dl>
            <h2>{t("job.log")}</h2>
            <Part load={log} rows={3} empty={(data) => (data.events.length ? null : <p class="muted">{t("job.log.empty")}</p>)}>
              {(data) => (
                <ol class="log">
                  {data.events.map((one, index) => (
                    <li key={index}>
                      <Time at={one.at} /><span>{one.kind}</span><span class="muted">{[one.node, one.text].filter(Boolean).join(" · ")}</span>
                    </li>
                  ))}
                </ol>
              )}
            </Part>
          </>
        )}
      </Part>
    </section>
  );
}

export function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

function itemsOf(job: Job): string {
  const { done_items: done, total_items: total } = job.progress!;
  return total == null ? t("count", { n: done }) : t("count.of", { done, total });
}
