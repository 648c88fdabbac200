/** The tray of uploads below the page: how far all is, and the files that are worth a look. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { tray, trayButton } from "../frame/slots";
import { duration, moment, rate as speed, size } from "../lib/format";
import { shown } from "../lib/names";
import { online } from "../lib/online";
import { t } from "../texts";
import { Button, IconButton, Name, Progress, Size, State } from "../ui/controls";
import { ask } from "../ui/dialog";
import { nextStep } from "../ui/parts";
import { cancelAll, clear, counts, decide, isWaiting, pause, paused, rate, retryFailed, turn, worthALook, type Choice, type Item } from "./uploads";

/** So many files are shown; the rest are counts. */
const SHOWN_MAX = 200;
/** How often a screen reader hears how far it is (milliseconds). */
const SPOKEN_MS = 5000;
const open = signal(true);
const spoken = signal("");

function summary(): string {
  const { all, done, left, failed, clash, bytes, sent } = counts.value;
  if (!left) return failed + clash ? t("uploads.ended.some", { done, all, n: failed + clash }) : t("uploads.ended", { n: done });
  const text = t("uploads.progress", { done, all, sent: size(sent), bytes: size(bytes) });
  const perSecond = rate.value;
  if (!online.value || isWaiting.value) return `${text} · ${t("uploads.offline")}`;
  if (paused.value) return `${text} · ${t("uploads.paused")}`;
  if (!perSecond) return text;
  return `${text} · ${speed(perSecond)} · ${t("uploads.left", { time: duration((bytes - sent) / perSecond) })}`;
}

export function Tray() {
  const { all, left, failed, done, bytes, sent } = counts.value;
  useEffect(() => {
    const timer = setInterval(() => (spoken.value = all ? summary() : ""), SPOKEN_MS);
    return () => clearInterval(timer);
  }, [all]);
  if (!all) return null;
  return (
    <section class="tray" aria-label={t("uploads")}>
      <p class="visually-hidden" role="status">{spoken.value}</p>
      <div class="tray-head">
        <IconButton icon={open.value ? "expand" : "collapse"} label={t(open.value ? "uploads.hide" : "uploads.show")} aria-expanded={open.value}
          onClick={() => (open.value = !open.value)} />
        <div class="tray-text">
          <p>{summary()}</p>
          <Progress label={t("uploads")} value={bytes ? (sent / bytes) * 100 : done / all * 100} />
        </div>
        {failed > 0 && <Button icon="refresh" onClick={retryFailed}>{t("uploads.retry", { n: failed })}</Button>}
        {left > 0 && <Button icon={paused.value ? "play" : "pause"} onClick={() => pause(!paused.value)}>{t(paused.value ? "uploads.resume" : "uploads.pause")}</Button>}
        {left > 0 ? <Button icon="close" onClick={() => void giveUp()}>{t("uploads.cancel")}</Button>
          : <Button icon="check" onClick={() => clear(true)}>{t("uploads.clear")}</Button>}
      </div>
      {open.value && <Rows />}
    </section>
  );
}

async function giveUp(): Promise<void> {
  const n = counts.value.left;
  if (await ask({ title: t("uploads.cancel.title", { n }), body: <p>{t("uploads.cancel.body")}</p>, confirm: t("uploads.cancel"), danger: true })) cancelAll();
}

function Rows() {
  void turn.value;
  const found = worthALook(SHOWN_MAX);
  const more = counts.value.all - found.length;
  return (
    <ul class="tray-rows">
      {found.map((item) => <Row key={item.number} item={item} />)}
      {more > 0 && <li class="muted">{t("uploads.more", { n: more })}</li>}
    </ul>
  );
}

const KINDS = { waiting: "idle", running: "busy", done: "ok", failed: "bad", clash: "warn", skipped: "idle" } as const;

function Row({ item }: { item: Item }) {
  // The item is the same object: what changed in it shows by `turn`.
  void turn.value;
  return (
    <li>
      <div class="tray-row">
        <State kind={KINDS[item.state]}>{t(`upload.${item.state}`)}</State>
        <Name text={item.path} />
        <span class="space" />
        {item.state === "running" && item.file.size > 0
          ? <span class="muted number">{t("used.of", { used: size(item.sent), limit: size(item.file.size) })}</span> : <Size bytes={item.file.size} />}
      </div>
      {item.state === "failed" && item.problem && <p class="wrong">{item.problem.message} <span class="muted">{nextStep(item.problem)}</span></p>}
      {item.state === "clash" && <Question item={item} />}
    </li>
  );
}

const CHOICES: Choice[] = ["both", "replace", "skip"];

function Question({ item }: { item: Item }) {
  void turn.value;
  const many = counts.value.clash > 1 || counts.value.left > 0;
  return (
    <div class="acts" role="group" aria-label={t("clash.of", { name: shown(item.path) })}>
      <span>{t(item.replace ? "clash.changed" : "clash")}{item.there && ` ${t("clash.there", { size: size(item.there.size_bytes), time: moment(item.there.modified_at) })}`}</span>
      {CHOICES.map((choice) => <Button key={choice} onClick={() => decide(item, choice, false)}>{t(`clash.${choice}`)}</Button>)}
      {many && CHOICES.map((choice) => <Button key={choice} kind="quiet" onClick={() => decide(item, choice, true)}>{t(`clash.${choice}.all`)}</Button>)}
    </div>
  );
}

function TrayButton() {
  const { left, all, failed, clash } = counts.value;
  if (!all) return null;
  const waiting = failed + clash;
  return (
    <Button kind="quiet" icon="upload" onClick={() => (open.value = !open.value)} aria-expanded={open.value}>
      {left ? t("top.uploads", { n: left }) : waiting ? t("top.uploads.waiting", { n: waiting }) : t("top.uploads.done")}
    </Button>
  );
}

/** Show the tray from now on. */
export function showTray(): void {
  tray.value = Tray;
  trayButton.value = TrayButton;
}
