/** The page of a link, for visitors: a list to download from, or a place to drop files. It needs no sign-in. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import tus, { type DetailedError } from "tus-js-client";
import { address, asProblem, call, get, Problem, type Facts } from "../lib/api";
import { size } from "../lib/format";
import { useLoad } from "../lib/load";
import { base64, join, parent, shown } from "../lib/names";
import { go, path as addressTo } from "../lib/router";
import { t } from "../texts";
import { Button, Field, Name, Progress, Size, State, Time } from "../ui/controls";
import { Grid } from "../ui/grid";
import { Icon } from "../ui/icon";
import { Menus } from "../ui/menu";
import { Empty, Part, ProblemNotice } from "../ui/parts";
import { Toasts } from "../ui/toast";
import type { Entry } from "../browse/entries";

interface Visited {
  kind: "read" | "drop";
  needs_password: boolean;
  name: string | null;
  is_directory: boolean;
  max_file_bytes: number | null;
  expires_at: string;
}
const PAGE = 5000;

export function Visit({ segments }: { segments: string[] }) {
  const [token = "", ...inside] = segments;
  const base = `/s/${encodeURIComponent(token)}`;
  const load = useLoad(base, (signal) => get<Visited>(base, { signal, quiet: true }));
  useEffect(() => {
    document.title = `${load.data?.name ?? t("link")} · vfolder`;
  }, [load.data]);
  return (
    <main class="visit">
      <header class="bar"><span class="brand"><Icon name="folder" />vfolder</span></header>
      {load.error?.status === 404 ? <Empty icon="link" text={t("link.gone")} /> : (
        <Part load={load}>
          {(link) => (
            <>
              <div class="bar">
                <h1>{link.name ? shown(link.name) : t("link")}</h1>
                <div class="space" />
                <span class="muted">{t("until")} <Time at={link.expires_at} /></span>
              </div>
              {link.needs_password ? <Password base={base} onDone={load.reload} />
                : link.kind === "drop" ? <Drop base={base} link={link} />
                : link.is_directory ? <Listed token={token} base={base} path={inside.join("/")} />
                : <div class="acts"><a class="button main" href={`${base}/content`} download><Icon name="download" /><span>{t("entry.download")}</span></a></div>}
            </>
          )}
        </Part>
      )}
      <Menus />
      <Toasts />
    </main>
  );
}

function Password({ base, onDone }: { base: string; onDone: () => void }) {
  const text = useSignal("");
  const problem = useSignal<Problem | null>(null);
  const enter = async () => {
    problem.value = null;
    try {
      await call("POST", base, { body: { password: text.value }, quiet: true });
      text.value = "";
      onDone();
    } catch (error) {
      problem.value = asProblem(error);
    }
  };
  return (
    <form class="card" onSubmit={(event) => { event.preventDefault(); void enter(); }}>
      <Field label={t("links.password")} hint={t("link.password.hint")}>
        {(ids) => <input {...ids} type="password" autofocus value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
      </Field>
      <Button type="submit" kind="main" disabled={!text.value}>{t("link.open")}</Button>
      {problem.value && <ProblemNotice problem={problem.value} next={t("link.password.wrong")} />}
    </form>
  );
}

function Listed({ token, base, path }: { token: string; base: string; path: string }) {
  const load = useLoad(`${base} ${path}`, async (signal) => {
    const all: Entry[] = [];
    let cursor: string | null = null;
    do {
      const page: { entries: Entry[]; next: string | null } = await get(`${base}/entries`, { query: { path, limit: PAGE, cursor }, signal, quiet: true });
      all.push(...page.entries);
      cursor = page.next;
    } while (cursor);
    return all;
  });
  const to = (inside: string) => addressTo(["s", token, ...inside.split("/").filter(Boolean)]);
  const content = (entry: Entry) => address(`${base}/content`, { path: join(path, entry.name), ...(entry.kind === "directory" ? { format: "zip" } : {}) });
  const save = (entry: Entry) => location.assign(content(entry));
  return (
    <>
      <div class="bar">
        {path && <Button icon="folder-up" onClick={() => go(to(parent(path)))}>{t("path.up")}</Button>}
        <span>{shown(path)}</span>
        <div class="space" />
        <a class="button" href={address(`${base}/content`, { path, format: "zip" })} download><Icon name="download" /><span>{t("link.all")}</span></a>
      </div>
      <Part load={load} empty={(rows) => (rows.length ? null : <Empty icon="folder" text={t("entries.empty")} />)}>
        {(rows) => (
          <Grid label={t("link")} rows={rows} rowKey={(row) => row.name} text={(row) => shown(row.name)}
            onOpen={(row) => (row.kind === "directory" ? go(to(join(path, row.name))) : save(row))}
            menu={(row) => [{ label: t("entry.download"), icon: "download", run: () => save(row) }]}
            detail={(row) => <Size bytes={row.size_bytes} />}
            columns={[
              {
                key: "name", title: t("column.name"), width: "minmax(0, 1fr)",
                cell: (row) => row.kind === "directory"
                  ? <a class="entry" href={to(join(path, row.name))} tabIndex={-1}><Icon name="folder" class="kind" /><Name text={row.name} /></a>
                  : <a class="entry" href={content(row)} download tabIndex={-1}><Icon name="file" class="kind" /><Name text={row.name} /></a>,
              },
              { key: "size", title: t("column.size"), width: "120px", end: true, cell: (row) => <Size bytes={row.size_bytes} /> },
              { key: "changed", title: t("column.changed"), width: "150px", from: 640, cell: (row) => <Time at={row.modified_at} /> },
            ]} />
        )}
      </Part>
    </>
  );
}

// -- Drop ------------------------------------------------------------------------------------------
interface Sent {
  file: File;
  sent: number;
  state: "waiting" | "running" | "done" | "failed";
  text: string;
}
const CHUNK_BYTES = 16 * 1024 * 1024;
const RETRY_MS = [500, 2000, 5000, 10_000];

function Drop({ base, link }: { base: string; link: Visited }) {
  const items = useMemo<Sent[]>(() => [], []);
  const turn = useSignal(0);
  const busy = useRef(false);
  const over = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  const show = () => void turn.value++;
  const next = async () => {
    if (busy.current) return;
    busy.current = true;
    // A visitor without a password gets a cookie that names the visit.
    await call("POST", base, { body: {}, quiet: true }).catch(() => undefined);
    for (let item = items.find((one) => one.state === "waiting"); item; item = items.find((one) => one.state === "waiting")) await send(item);
    busy.current = false;
  };
  const send = (item: Sent) => new Promise<void>((done) => {
    item.state = "running";
    show();
    const end = (state: Sent["state"], text = "") => (Object.assign(item, { state, text }), show(), done());
    new tus.Upload(item.file, {
      endpoint: `${base}/uploads`, chunkSize: CHUNK_BYTES, storeFingerprintForResuming: false, retryDelays: RETRY_MS,
      onBeforeRequest: (request) => {
        if (request.getMethod() === "POST") request.setHeader("Upload-Metadata", `filename ${base64(item.file.name)}`);
      },
      onProgress: (sent) => ((item.sent = sent), show()),
      onSuccess: () => ((item.sent = item.file.size), end("done")),
      onError: (error) => end("failed", detailOf(error as DetailedError)),
    }).start();
  });
  const add = (files: FileList | undefined | null) => {
    for (const file of files ?? []) items.push({ file, sent: 0, state: "waiting", text: "" });
    show();
    void next();
  };
  void turn.value;
  return (
    <>
      <div class={`drop-zone ${over.value ? "over" : ""}`}
        onDragOver={(event) => { event.preventDefault(); over.value = true; }} onDragLeave={() => (over.value = false)}
        onDrop={(event) => { event.preventDefault(); over.value = false; add(event.dataTransfer?.files); }}>
        <Icon name="upload" />
        <p>{t("link.drop")}</p>
        {link.max_file_bytes !== null && <p class="muted">{t("link.drop.max", { size: size(link.max_file_bytes) })}</p>}
        <Button kind="main" onClick={() => field.current?.click()}>{t("link.choose")}</Button>
        <input ref={field} type="file" multiple hidden tabIndex={-1} aria-label={t("link.choose")} data-upload="files"
          onChange={(event) => { add(event.currentTarget.files); event.currentTarget.value = ""; }} />
      </div>
      <ul class="items" aria-label={t("uploads")}>
        {items.map((item, index) => (
          <li key={index} class="line">
            <State kind={({ waiting: "idle", running: "busy", done: "ok", failed: "bad" } as const)[item.state]}>{t(`upload.${item.state}`)}</State>
            <div class="grow"><Name text={item.file.name} />{item.text && <p class="wrong">{item.text}</p>}
              {item.state === "running" && <Progress label={item.file.name} value={item.file.size ? (item.sent / item.file.size) * 100 : null} />}</div>
            <Size bytes={item.file.size} />
          </li>
        ))}
      </ul>
    </>
  );
}

function detailOf(error: DetailedError): string {
  try {
    return (JSON.parse(error.originalResponse?.getBody() ?? "") as Facts).detail ?? error.message;
  } catch {
    return error.originalResponse ? error.message : t("problem.offline");
  }
}
