/** The frame of all pages: navigation, the bar above, and what stays while pages change. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { running } from "../lib/jobs";
import { duration } from "../lib/format";
import { brokenSince, isStale } from "../lib/live";
import { online } from "../lib/online";
import { BASE, go, path, place } from "../lib/router";
import { isOperator, me, signOut } from "../lib/session";
import { prefer, taste, type Theme } from "../lib/taste";
import { language } from "../lib/text";
import { Bell } from "../people/notices";
import { operatePages } from "../operate/menu";
import { t, type TextKey } from "../texts";
import { Dialog, Dialogs, openDialog } from "../ui/dialog";
import { Icon, type IconName } from "../ui/icon";
import { Menu, Menus } from "../ui/menu";
import { toastProblem, Toasts } from "../ui/toast";
import { takeKeys } from "./shortcuts";
import { tray, trayButton } from "./slots";

interface Entry {
  to: string[];
  title: string;
  icon: IconName;
  count?: number;
}

const entries = (): Entry[] => [
  { to: [], title: t("nav.files"), icon: "folder" },
  { to: ["shared"], title: t("nav.shared"), icon: "users" },
  ...(me.value?.groups.length ? [{ to: ["groups"], title: t("groups"), icon: "users" as const }] : []),
  { to: ["jobs"], title: t("nav.jobs"), icon: "jobs", count: running.value.length },
  { to: ["trash"], title: t("nav.trash"), icon: "trash" },
  { to: ["usage"], title: t("usage"), icon: "usage" },
];

function isHere(to: string[]): boolean {
  const { segments } = place.value;
  if (!to.length) return !segments.length || segments[0] === "f";
  return to.every((segment, index) => segments[index] === segment);
}

function NavLink({ entry }: { entry: Entry }) {
  return (
    <a href={path(entry.to)} aria-current={isHere(entry.to) ? "page" : undefined}>
      <Icon name={entry.icon} />
      <span>{entry.title}</span>
      {entry.count ? <span class="count">{entry.count}</span> : null}
    </a>
  );
}

function Navigation() {
  return (
    <nav class="navigation" aria-label={t("nav")}>
      <a class="brand" href={BASE}><Icon name="folder" /><span>vfolder</span></a>
      {entries().map((entry) => <NavLink key={entry.title} entry={entry} />)}
      {isOperator.value && operatePages.length > 0 && (
        <>
          <h2>{t("nav.operate")}</h2>
          {operatePages.map((one) => (
            <NavLink key={one.path} entry={{ to: ["op", one.path], title: one.title[language.value], icon: one.icon }} />
          ))}
        </>
      )}
    </nav>
  );
}

const THEMES: Array<[Theme, IconName, TextKey]> = [
  ["system", "system", "theme.system"],
  ["light", "light", "theme.light"],
  ["dark", "dark", "theme.dark"],
];

function TopBar() {
  const Uploads = trayButton.value;
  const name = me.value?.subject.name || me.value?.subject.id?.slice(0, 8) || "";
  return (
    <header class="top">
      <a class="brand" href={BASE} aria-label="vfolder"><Icon name="folder" /></a>
      <div class="space" />
      {Uploads && <Uploads />}
      <Bell />
      {running.value.length > 0 && (
        <a class="button quiet" href={path(["jobs"])}>
          <Icon name="jobs" /><span>{t("top.jobs", { n: running.value.length })}</span>
        </a>
      )}
      <Menu label={t("theme")} icon={taste.value.theme === "dark" ? "dark" : taste.value.theme === "light" ? "light" : "system"}
        items={() => THEMES.map(([theme, icon, text]) => ({
          label: t(text), icon, checked: taste.value.theme === theme, run: () => prefer({ theme }),
        }))} />
      <Menu label={t("account")} icon="user" text={name} class="who" items={() => [
        { label: t("nav.account"), icon: "settings", run: () => go(path(["account"])) },
        { label: t("keys.help"), icon: "info", run: showKeys },
        { label: t("sign-out"), icon: "leave", run: () => void signOut().catch((error) => toastProblem(error)) },
      ]} />
    </header>
  );
}

const HELP: Array<[string, TextKey]> = [
  ["↑ ↓ Home End PgUp PgDn", "keys.move"], ["a … z", "keys.type"], ["Enter", "keys.open"], ["Backspace", "keys.up"],
  ["Space", "keys.select"], ["Shift + ↑ ↓", "keys.extend"], ["Ctrl + A", "keys.all"], ["F2", "keys.rename"], ["Delete", "keys.delete"],
  ["Ctrl + C X V", "keys.paste"], ["Ctrl + Z", "keys.undo"], ["Shift + F10", "keys.menu"], ["/", "keys.filter"], ["g f", "keys.files"], ["g j", "keys.jobs"],
  ["?", "keys.help"],
];

export function showKeys(): void {
  openDialog((close) => (
    <Dialog title={t("keys.help")} onClose={close}>
      <dl class="body keys">
        {HELP.map(([keys, text]) => <><dt><kbd>{keys}</kbd></dt><dd>{t(text)}</dd></>)}
      </dl>
    </Dialog>
  ));
}

function StaleBar() {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  if (!online.value) return <p class="stale" role="status">{t("offline")}</p>;
  if (!isStale.value || brokenSince.value === null) return null;
  const seconds = Math.max(0, (now.value - brokenSince.value) / 1000);
  return <p class="stale" role="status">{t("live.stopped", { time: duration(seconds) })}</p>;
}

export function Frame({ children }: { children: ComponentChildren }) {
  const Tray = tray.value;
  useEffect(() => takeKeys({
    "g f": () => go(BASE),
    "g j": () => go(path(["jobs"])),
    "?": showKeys,
  }), []);
  return (
    <>
    <div class="frame">
      <a class="skip" href="#main">{t("skip")}</a>
      <Navigation />
      <div class="page">
        <TopBar />
        <StaleBar />
        <main id="main" tabIndex={-1}>{children}</main>
        {Tray && <Tray />}
      </div>
    </div>
    <Dialogs />
    <Menus />
    <Toasts />
    </>
  );
}
