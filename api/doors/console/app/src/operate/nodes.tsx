/** Nodes: alive or silent since, what they run, and whether they take jobs. */
import { duration, number } from "../lib/format";
import { State, Time } from "../ui/controls";
import { Grid, type Column } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Empty, Part } from "../ui/parts";
import { drain, undrain } from "./acts";
import { Head, usePolled, whyNot } from "./parts";
import { t } from "./text";
import type { Node } from "./types";

const NODES_MS = 3000;

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
                : { label: t("node.drain"), icon: "pause", danger: true, ...off, run: () => drain(node, reload) },
            ]} />
        )}
      </Part>
    </section>
  );
}
