/** What is shown at `/console/op/…`. It is loaded when an operator opens it. */
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { t as common } from "../texts";
import { Empty } from "../ui/parts";
import { Audit } from "./audit";
import { Diagnostics } from "./diagnostics";
import { Events } from "./events";
import { OperatorJobs } from "./jobs";
import { Nodes } from "./nodes";
import { Orphans } from "./orphans";
import { Overview } from "./overview";
import { People } from "./people";
import { Quota } from "./quota";
import { Settings } from "./settings";
import { Backlog } from "./backlog";
import { Uploads } from "./uploads";
import { Volumes } from "./volumes";

const pages: Record<string, ComponentType<{ segments: string[] }>> = {
  overview: Overview,
  volumes: Volumes,
  nodes: Nodes,
  jobs: OperatorJobs,
  uploads: Uploads,
  backlog: Backlog,
  orphans: Orphans,
  quota: Quota,
  people: People,
  audit: Audit,
  events: Events,
  settings: Settings,
  diagnostics: Diagnostics,
};

/** Show the page that the segments behind `/console/op` name. */
export function Operate({ segments }: { segments: string[] }) {
  const [first = "overview", ...rest] = segments;
  const Page = pages[first];
  useEffect(() => {
    document.querySelector(".navigation [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  }, [first]);
  return Page ? <Page key={segments.join("/")} segments={rest} /> : <Empty icon="info" text={common("place.unknown")} />;
}
