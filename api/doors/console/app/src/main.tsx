/** The console: what is shown at each address below `/console`. */
import { effect, signal, untracked } from "@preact/signals";
import { render } from "preact";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { keepFocus } from "./frame/focus";
import { Frame } from "./frame/frame";
import { SignIn } from "./frame/signin";
import { asProblem, type Problem } from "./lib/api";
import { followJobs, forget } from "./lib/jobs";
import { beginLive } from "./lib/live";
import { followLinks, place } from "./lib/router";
import { begin, linkFailed, me, signInByLink } from "./lib/session";
import { applyTaste } from "./lib/taste";
import { Files } from "./people/files";
import { followNotices } from "./people/notices";
import { t } from "./texts";
import { closeDialogs } from "./ui/dialog";
import { Empty, ProblemNotice, Skeleton } from "./ui/parts";

const startProblem = signal<Problem | null>(null);

/** Pages that are loaded when they are first opened. */
type PageLoad = () => Promise<ComponentType<{ segments: string[] }>>;
const pages: Record<string, PageLoad> = {
  f: async () => (await import("./browse")).Browser,
  account: async () => (await import("./people/account")).Account,
  accept: async () => (await import("./people/ownership")).Accept,
  groups: async () => (await import("./people/groups")).Groups,
  find: async () => (await import("./browse/search")).Search,
  snapshots: async () => (await import("./people/snapshots")).Snapshots,
  usage: async () => (await import("./people/usage")).Usage,
  s: async () => (await import("./people/visit")).Visit,
  jobs: async () => (await import("./people/jobs")).Jobs,
  trash: async () => (await import("./people/trash")).Trash,
  op: async () => (await import("./operate")).Operate,
};
const loaded = signal<Record<string, ComponentType<{ segments: string[] }> | Problem>>({});

function Later({ name, segments }: { name: string; segments: string[] }) {
  const found = loaded.value[name];
  useEffect(() => {
    if (typeof loaded.peek()[name] === "function") return;
    pages[name]!().then(
      (page) => (loaded.value = { ...loaded.value, [name]: page }),
      (error: unknown) => (loaded.value = { ...loaded.value, [name]: asProblem(error) }),
    );
  }, [name]);
  if (typeof found === "function") {
    const Page = found;
    return <Page segments={segments} />;
  }
  if (found) return <ProblemNotice problem={found as Problem} onRetry={() => location.reload()} />;
  return <Skeleton />;
}

function Page() {
  const [first, ...rest] = place.value.segments;
  if (first === undefined) return <Files view="all" />;
  if (first === "shared") return <Files view="shared" />;
  if (pages[first]) return <Later key={first} name={first} segments={rest} />;
  return <Empty icon="info" text={t("place.unknown")} />;
}

async function start(): Promise<void> {
  startProblem.value = null;
  try {
    if (location.hash.startsWith("#code=")) await signInByLink().catch(() => (linkFailed.value = true));
    await begin();
  } catch (error) {
    startProblem.value = asProblem(error);
  }
}

function App() {
  if (startProblem.value && place.value.segments[0] !== "s")
    return <main class="sign-in"><div class="card"><ProblemNotice problem={startProblem.value} onRetry={() => void start()} /></div></main>;
  // The page of a link is for all.
  const [first, ...rest] = place.value.segments;
  if (first === "s") return <Later name="s" segments={rest} />;
  // As the document has it before the first script runs.
  if (me.value === undefined) return <div class="waiting" aria-busy="true"><span class="brand">vfolder</span></div>;
  if (me.value === null) return <SignIn />;
  return <Frame><Page /></Frame>;
}

const root = document.getElementById("app")!;
followLinks(root);
keepFocus(root);
await applyTaste();
beginLive();
let end: (() => void) | undefined;
effect(() => {
  if (me.value && !end) {
    const ends = [untracked(followJobs), untracked(followNotices)];
    end = () => ends.forEach((one) => one());
  }
  else if (!me.value && end) {
    end();
    end = undefined;
    forget();
    closeDialogs();
  }
});
void start();
root.replaceChildren();
render(<App />, root);
