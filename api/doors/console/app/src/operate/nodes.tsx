/** Nodes: alive or silent since, what they run, and whether they take jobs. */
import { get } from "../lib/api";
import { duration, number, UNKNOWN } from "../lib/format";
import type { Job } from "../lib/jobs";
import { useLoad } from "../lib/load";
import { path } from "../lib/router";
import { verbOf } from "../people/jobs";
import { t as common } from "../texts";
import { State, Time } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Part } from "../ui/parts";
import { drain, undrain } from "./acts";
import type { FullJob } from "./jobs";
import { Box, Head, Table, usePolled, whyNot } from "./parts";
import { t } from "./text";
import type { Node } from "./types";

const NODES_MS = 3000;
const JOBS_MS = 3000;
/** The running jobs of all nodes: as many as a page has. */
const RUNNING = "/v1/jobs?state=running&limit=500";
/** Jobs that a question names. */
const NAMED_MAX = 10;

interface RunningJobs {
  jobs: FullJob[];
  next: string | null;
}

function NodeState({ node }: { node: Node }) {
  if (!node.alive && node.silent_seconds === null) return <State kind="idle">{t("node.left")}</State>;
  if (!node.alive) return <State kind="bad">{t("node.silent.for", { time: duration(node.silent_seconds) })}</State>;
  if (node.draining) return <State kind="warn">{node.running ? t("node.draining.left", { n: node.running }) : t("node.drained")}</State>;
  return <State kind="ok">{t("node.alive")}</State>;
}

const proven = (node: Node) => Object.entries(node.volumes).filter(([, one]) => one.proven).map(([name]) => name);
const lacking = (node: Node) => Object.entries(node.volumes).filter(([, one]) => !one.proven).map(([name]) => name);

function VolumesOf({ node }: { node: Node }) {
  const away = lacking(node);
  return (
    <span class="cut" title={[...proven(node), ...away].join(", ")}>
      {proven(node).join(", ") || t("none")}{away.length > 0 && <span class="wrong"> {t("node.lacks", { names: away.join(", ") })}</span>}
    </span>
  );
}

const COLUMNS = (): Array<Column<Node>> => [
  { key: "id", title: t("column.node"), width: "minmax(120px, 1fr)", cell: (node) => <span class="entry"><Icon name="node" class="kind" /><span class="name">{node.id}</span></span> },
  { key: "state", title: t("column.state"), width: "190px", cell: (node) => <NodeState node={node} /> },
  { key: "jobs", title: t("jobs"), width: "90px", end: true, from: 560, cell: (node) => t("of", { done: node.running, total: node.slots }) },
  { key: "load", title: t("column.load"), width: "80px", end: true, from: 720, cell: (node) => number(Math.round(node.load * 100) / 100) },
  { key: "volumes", title: t("volumes"), width: "minmax(0, 1fr)", from: 780, cell: (node) => <VolumesOf node={node} /> },
  { key: "version", title: t("column.version"), width: "110px", from: 900, cell: (node) => node.version },
  { key: "started", title: t("column.started"), width: "120px", end: true, from: 980, cell: (node) => <Time at={node.started_at} /> },
];

export function Nodes(_: { segments: string[] }) {
  const load = usePolled<{ nodes: Node[] }>("/v1/nodes", NODES_MS, "nodes");
  const why = whyNot(load.away);
  const off = { disabled: Boolean(why), why };
  const reload = () => load.reload();
  return (
    <section class={`whole ${load.away ? "away" : ""}`}>
      <Head title={t("nodes")} of={load} />
      <p class="muted">{t("nodes.hint")}</p>
      <Part load={load} empty={(data) => (data.nodes.length ? null : <Empty icon="node" text={t("nodes.empty")} />)}>
        {(data) => (
          <Grid label={t("nodes")} rows={data.nodes} rowKey={(node) => node.id} text={(node) => node.id} columns={COLUMNS()}
            detail={(node) => <><NodeState node={node} /> · {t("of", { done: node.running, total: node.slots })}</>}
            menu={(node) => [
              node.draining
                ? { label: t("node.undrain"), icon: "play", ...off, run: () => undrain(node.id, reload) }
                : { label: t("node.drain"), icon: "pause", danger: true, ...off, run: () => drain(node, node.running ? <JobsOf node={node.id} /> : null, reload) },
            ]} />
        )}
      </Part>
      <Leaving nodes={load.data?.nodes.filter((one) => one.alive && one.draining && one.running > 0) ?? []} />
    </section>
  );
}

/** The jobs that draining nodes still have, by name. */
function Leaving({ nodes }: { nodes: Node[] }) {
  const names = nodes.map((one) => one.id);
  const load = usePolled<RunningJobs>(nodes.length ? RUNNING : null, JOBS_MS, "jobs");
  if (!nodes.length) return null;
  return (
    <Box title={t("nodes.leaving")}>
      <Part load={load} rows={2}>
        {(data) => {
          const found = data.jobs.filter((one) => one.node !== null && names.includes(one.node));
          return found.length === 0 ? <p class="muted">{t("nodes.leaving.none")}</p> : (
            <Table label={t("nodes.leaving")} head={[common("column.job"), t("column.node"), t("column.volume"), t("column.requester")]}
              rows={found.map((one) => ({
                key: one.id,
                cells: [<a href={path(["op", "jobs", one.id])}>{verbOf(one as Job)}</a>, one.node, one.volume, one.requester ?? UNKNOWN],
              }))} />
          );
        }}
      </Part>
      {load.data?.next != null && <p class="muted">{t("nodes.leaving.more")}</p>}
    </Box>
  );
}

/** The jobs of a node, before it is drained. */
function JobsOf({ node }: { node: string }) {
  const load = useLoad(node, (signal) => get<RunningJobs>(RUNNING, { signal }));
  return (
    <Part load={load} rows={2}>
      {(data) => {
        const found = data.jobs.filter((one) => one.node === node);
        return (
          <>
            <ul class="touched">{found.slice(0, NAMED_MAX).map((one) => <li key={one.id}>{verbOf(one as Job)} · {one.volume} · {one.requester ?? UNKNOWN}</li>)}</ul>
            {found.length > NAMED_MAX && <p class="muted">{t("more", { n: found.length - NAMED_MAX })}</p>}
          </>
        );
      }}
    </Part>
  );
}
