/** Places of the frame that later parts fill: their code is loaded when it is needed. */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";

/** The tray below the page. */
export const tray = signal<ComponentType | null>(null);
/** What the bar above has of it. */
export const trayButton = signal<ComponentType | null>(null);
