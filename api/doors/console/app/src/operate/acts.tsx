/** What operators do: each act asks once, with what it touches, and takes a reason. */
import type { ComponentChildren } from "preact";
import { call, post } from "../lib/api";
import { rate, number, size } from "../lib/format";
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

/** Count and compare; nothing is changed but figures that a walk corrects. */
export function rescan(name: string, started: (job: Job) => void, scope: string | null = null): void {
  askWhy({
    title: t("rescan.title", { name }),
    body: <p>{t("rescan.body")}</p>,
    confirm: t("rescan"),
    optional: true,
    run: async (reason) => started(await post<Job>(`/v1/volumes/${name}/rescan`, { scope, ...why(reason) })),
    done: t("rescan.done", { name }),
  });
}

/** Put one kind of finding right; the last rescan counted `n` of them. */
export function repair(name: string, kind: string, words: string, n: number, started: (job: Job) => void): void {
  askWhy({
    title: t("rescan.repair.title", { name }),
    body: <><p>{t("rescan.repair.body", { n })}</p><p><strong>{words}</strong></p></>,
    back: t("rescan.repair.back"),
    confirm: t("orphans.repair", { n }),
    danger: true,
    run: async (reason) => started(await post<Job>(`/v1/volumes/${name}/rescan`, { repair: true, kinds: [kind], reason })),
    done: t("rescan.done", { name }),
  });
}

/** Let a limit of the storage system count what other programs wrote, too. */
export function adopt(volume: string, scope: string, limitBytes: number, started: (job: Job) => void): void {
  askWhy({
    title: t("adopt.title", { name: scope }),
    body: <p>{t("adopt.body", { volume, limit: size(limitBytes) })}</p>,
    confirm: t("adopt"),
    run: async (reason) => started(await post<Job>(`/v1/volumes/${encodeURIComponent(volume)}/adopt`, { scope, limit_bytes: limitBytes, reason })),
    done: t("adopt.done", { name: scope }),
  });
}

/** `named` shows the jobs that it releases. */
export function drain(node: Node, named: ComponentChildren, done: () => void): void {
  askWhy({
    title: t("node.drain.title", { name: node.id }),
    body: <><p>{node.running ? t("node.drain.body", { n: node.running }) : t("node.drain.body.none")}</p>{named}</>,
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
