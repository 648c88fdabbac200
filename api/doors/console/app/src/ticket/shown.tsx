/** What every ticket shows: its title, and what it is about. */
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { t, type TextKey } from "../texts";
import { Icon } from "../ui/icon";

export function Shown({ title, about, children }: { title: TextKey; about: string; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = t(title);
  }, [title]);
  return (
    <main class="visit ticket">
      <header class="bar"><span class="brand"><Icon name="folder" />vfolder</span></header>
      <h1 id="title">{t(title)}</h1>
      <p id="about" class="muted" role="status">{about}</p>
      {children}
    </main>
  );
}
