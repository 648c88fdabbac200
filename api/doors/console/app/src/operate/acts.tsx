/** What operators do: each act asks once, with what it touches, and takes a reason. */
import { call, post } from "../lib/api";
import { rate, number } from "../lib/format";
import type { Job } from "../lib/jobs";
import { askWhy } from "./parts";
import { t } from "./text";
import type { Node, Volume } from "./types";

const put = (path: string, body: unknown) => call("PUT", path, { body });
const why = (reason: string) => (reason ? { reason } : {});

export function pause(volume: Volume, done: () => void): void {
  const running = volume.lanes.reduce((sum, one) => sum + one.running, 0);
  askWhy({
    title: t("volume.pause.title", { name: volume.name }),
    body: <p>{running ? t("volume.pause.body", { n: running }) : t("volume.pause.body.none")}</p>,
    back: t("volume.pause.back"),
    confirm: t("volume.pause"),
    danger: true,
    run: async (reason) => { await post(`/v1/volumes/${volume.name}/pause`, { reason }); done(); },
    done: t("volume.paused.done", { name: volume.name }),
  });
}

export function resume(name: string, done: () => void): void {
  askWhy({
    title: t("volume.resume.title", { name }),
    body: <p>{t("volume.resume.body")}</p>,
    confirm: t("volume.resume"),
    optional: true,
    run: async (reason) => { await post(`/v1/volumes/${name}/resume`, why(reason)); done(); },
    done: t("volume.resumed.done", { name }),
  });
}

export function limit(volume: Volume, perSecond: number | null, done: () => void): void {
  askWhy({
    title: t("bandwidth.title", { name: volume.name }),
    body: <p>{perSecond === null ? t("bandwidth.lift.body") : t("bandwidth.body", { rate: rate(perSecond) })}</p>,
    back: t("bandwidth.back", { rate: volume.bandwidth ? rate(volume.bandwidth.bytes_per_second) : t("bandwidth.none") }),
    confirm: perSecond === null ? t("bandwidth.lift") : t("bandwidth.set"),
    optional: true,
    run: async (reason) => { await put(`/v1/volumes/${volume.name}/bandwidth`, { bytes_per_second: perSecond, ...why(reason) }); done(); },
    done: t("bandwidth.done"),
  });
}

export function rescan(name: string, repair: boolean, started: (job: Job) => void, scope: string | null = null): void {
  askWhy({
    title: t(repair ? "rescan.repair.title" : "rescan.title", { name }),
    body: <p>{t(repair ? "rescan.repair.body" : "rescan.body")}</p>,
    confirm: t(repair ? "rescan.repair" : "rescan"),
    danger: repair,
    optional: !repair,
    run: async (reason) => started(await post<Job>(`/v1/volumes/${name}/rescan`, { repair, scope, ...why(reason) })),
    done: t("rescan.done", { name }),
  });
}

export function drain(node: Node, done: () => void): void {
  askWhy({
    title: t("node.drain.title", { name: node.id }),
    body: <p>{node.running ? t("node.drain.body", { n: node.running }) : t("node.drain.body.none")}</p>,
    back: t("node.drain.back"),
    confirm: t("node.drain"),
    danger: true,
    run: async (reason) => { await post(`/v1/nodes/${node.id}/drain`, { reason }); done(); },
    done: t("node.drain.done", { name: node.id }),
  });
}

export function undrain(name: string, done: () => void): void {
  askWhy({
    title: t("node.undrain.title", { name }),
    body: <p>{t("node.undrain.body")}</p>,
    confirm: t("node.undrain"),
    optional: true,
    run: async (reason) => { await post(`/v1/nodes/${name}/undrain`, why(reason)); done(); },
    done: t("node.undrain.done", { name }),
  });
}

/** One act on some jobs; the list is shown with its count first. */
export function onJobs(verb: "cancel" | "pause" | "resume" | "retry" | "retry-failed", jobs: Job[], done: (changed: Job[]) => void): void {
  const n = jobs.length;
  const route = verb === "retry-failed" ? "retry" : verb;
  const query = verb === "retry-failed" ? { only: "failed" } : {};
  askWhy({
    title: t(`jobs.${verb}.title`, { n }),
    body: (
      <>
        <p>{t(`jobs.${verb}.body`, { n })}</p>
        <ul class="touched">{jobs.slice(0, 5).map((one) => <li key={one.id}><code>{one.id.slice(0, 13)}</code> {one.verb} · {one.volume}</li>)}</ul>
        {n > 5 && <p class="muted">{t("more", { n: n - 5 })}</p>}
      </>
    ),
    confirm: t(`jobs.${verb}`, { n }),
    danger: verb === "cancel",
    optional: verb !== "cancel",
    run: async (reason) => {
      const changed: Job[] = [];
      for (const one of jobs)
        changed.push((await call<Job>("POST", `/v1/jobs/${one.id}/${route}`, { body: why(reason), query })).data);
      done(changed);
    },
    done: t("jobs.done", { n }),
  });
}

export function prioritize(job: Job & { priority: number }, priority: number, done: (job: Job) => void): void {
  askWhy({
    title: t("priority.title"),
    body: <p>{t("priority.body", { from: number(job.priority), to: number(priority) })}</p>,
    confirm: t("priority.set"),
    optional: true,
    run: async (reason) => done((await put(`/v1/jobs/${job.id}/priority`, { priority, ...why(reason) })).data as Job),
    done: t("priority.done"),
  });
}
