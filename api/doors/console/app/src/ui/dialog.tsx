/** Dialogs: native `dialog` elements, opened by code, one answer each. */
import { signal } from "@preact/signals";
import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useId, useRef, useState } from "preact/hooks";
import { asProblem, Problem } from "../lib/api";
import { t } from "../texts";
import { Button, IconButton } from "./controls";
import { ProblemNotice } from "./parts";

interface Opened {
  number: number;
  /** What had the focus when it was opened. A menu that closes meanwhile may still have it when the dialog is drawn. */
  from: Element | null;
  render: (close: () => void) => ComponentChildren;
}
const opened = signal<Opened[]>([]);
let numbers = 0;
const From = createContext<Element | null>(null);

/** Open a dialog; the function gets what closes it. */
export function openDialog(render: (close: () => void) => ComponentChildren): () => void {
  const number = ++numbers;
  opened.value = [...opened.value, { number, from: document.activeElement, render }];
  return () => closeNumber(number);
}

function closeNumber(number: number): void {
  opened.value = opened.value.filter((one) => one.number !== number);
}

export function closeDialogs(): void {
  opened.value = [];
}

/** The place of the dialogs in the page. */
export function Dialogs() {
  return <>{opened.value.map((one) => <From.Provider key={one.number} value={one.from}><div>{one.render(() => closeNumber(one.number))}</div></From.Provider>)}</>;
}

export function Dialog({ title, onClose, wide = false, children }: {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  const from = useContext(From);
  useEffect(() => {
    const before = [document.activeElement, from];
    const dialog = element.current!;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      dialog.close();
      const stays = before.find((one) => one?.isConnected && one !== document.body);
      if (stays instanceof HTMLElement) stays.focus();
    };
  }, []);
  return (
    <dialog ref={element} class={wide ? "wide" : ""} aria-labelledby={id}
      onCancel={(event) => { event.preventDefault(); onClose(); }}
      onKeyDown={(event) => event.stopPropagation()}>
      <header>
        <h2 id={id}>{title}</h2>
        <IconButton icon="close" label={t("close")} onClick={onClose} />
      </header>
      {children}
    </dialog>
  );
}

interface FormProps {
  title: string;
  /** The verb and its object. */
  confirm: string;
  danger?: boolean;
  disabled?: boolean;
  wide?: boolean;
  onClose: () => void;
  /** Runs at the confirmation; its error is shown in the dialog, which stays open then. */
  onConfirm: () => Promise<void> | void;
  children: ComponentChildren;
}

/** A dialog with one act; the harmless choice is the other button. */
export function FormDialog({ title, confirm, danger = false, disabled = false, wide = false, onClose, onConfirm, children }: FormProps) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(asProblem(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose} wide={wide}>
      <form onSubmit={(event) => { event.preventDefault(); if (!busy && !disabled) void run(); }}>
        <div class="body">
          {children}
          {problem && <ProblemNotice problem={problem} />}
        </div>
        <footer>
          <Button onClick={onClose} {...(danger ? { "data-first": true } : {})}>{t("cancel")}</Button>
          <Button type="submit" kind={danger ? "danger" : "main"} disabled={disabled} aria-busy={busy}>{confirm}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Ask once; resolves with whether the person confirms. */
export function ask(given: { title: string; body: ComponentChildren; confirm: string; danger?: boolean }): Promise<boolean> {
  return new Promise((answer) => {
    const close = openDialog(() => (
      <FormDialog title={given.title} confirm={given.confirm} danger={given.danger ?? false}
        onClose={() => { close(); answer(false); }} onConfirm={() => answer(true)}>
        {given.body}
      </FormDialog>
    ));
  });
}
