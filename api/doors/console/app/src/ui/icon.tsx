/** Outlines of Lucide (ISC licence), only those that are used. */
import {
  Activity, ArrowDown, ArrowUp, Camera, ChartPie, Check, ChevronDown, ChevronRight, ChevronUp, CircleAlert, CircleCheck, Clock,
  Copy, Download, Ellipsis, Eye, File, FileSymlink, FileQuestionMark, Folder, FolderOpen, FolderPlus, FolderUp, HardDrive, Info,
  KeyRound, Link, ListChecks, LogOut, Menu, Minus, Monitor, Moon, Pause, Pencil, Play, Plus, RefreshCw, RotateCcw, Scissors, Search,
  Server, Settings, Share2, ScrollText, Sun, Trash2, TriangleAlert, Upload, User, Users, Wrench, X, ShieldAlert, Gauge,
} from "lucide";
import { h, type VNode } from "preact";

const ICONS = {
  activity: Activity, down: ArrowDown, up: ArrowUp, camera: Camera, usage: ChartPie, check: Check, expand: ChevronDown, next: ChevronRight,
  collapse: ChevronUp, error: CircleAlert, ok: CircleCheck, clock: Clock, copy: Copy, download: Download, more: Ellipsis, eye: Eye,
  file: File, symlink: FileSymlink, other: FileQuestionMark, folder: Folder, open: FolderOpen, "new-folder": FolderPlus,
  "folder-up": FolderUp, volume: HardDrive, info: Info, key: KeyRound, link: Link, jobs: ListChecks, leave: LogOut, menu: Menu, minus: Minus,
  system: Monitor, dark: Moon, pause: Pause, rename: Pencil, play: Play, plus: Plus, refresh: RefreshCw, undo: RotateCcw, cut: Scissors,
  search: Search, node: Server, settings: Settings, share: Share2, log: ScrollText, light: Sun, trash: Trash2, warning: TriangleAlert,
  upload: Upload, user: User, users: Users, repair: Wrench, close: X, alarm: ShieldAlert, overview: Gauge,
};
export type IconName = keyof typeof ICONS;

const drawn = new Map<IconName, VNode[]>();
/** The lines of a picture. They never change: the same elements each time cost no comparison. */
function linesOf(name: IconName): VNode[] {
  const known = drawn.get(name);
  if (known) return known;
  const lines = (ICONS[name] as Array<[string, Record<string, string | number>]>).map(([tag, attributes]) => h(tag, attributes));
  drawn.set(name, lines);
  return lines;
}

/** A picture beside words, or with words of its own (`label`). One that stands alone needs the label of its button. */
export function Icon({ name, class: more = "", label }: { name: IconName; class?: string; label?: string }) {
  return (
    <svg class={`icon ${more}`} viewBox="0 0 24 24" focusable="false" {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": true })}>
      {linesOf(name)}
    </svg>
  );
}
