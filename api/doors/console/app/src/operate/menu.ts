/** The pages of operators, for the navigation. Their code is loaded with the first of them. */
import type { IconName } from "../ui/icon";

export interface OperatePage {
  /** The segment behind `/console/op/`. */
  path: string;
  title: string;
  icon: IconName;
}

/** The entries of the navigation; texts in both languages, since the catalogue comes with the pages. */
export const operatePages: Array<Omit<OperatePage, "title"> & { title: { en: string; ko: string } }> = [
  { path: "overview", icon: "overview", title: { en: "Overview", ko: "개요" } },
  { path: "volumes", icon: "volume", title: { en: "Volumes", ko: "볼륨" } },
  { path: "nodes", icon: "node", title: { en: "Nodes", ko: "노드" } },
  { path: "jobs", icon: "jobs", title: { en: "All jobs", ko: "모든 작업" } },
  { path: "uploads", icon: "upload", title: { en: "Uploads", ko: "업로드" } },
  { path: "quota", icon: "usage", title: { en: "Quota", ko: "할당량" } },
  { path: "backlog", icon: "trash", title: { en: "Trash backlog", ko: "휴지통 현황" } },
  { path: "orphans", icon: "repair", title: { en: "Orphans", ko: "고아 항목" } },
  { path: "people", icon: "users", title: { en: "People", ko: "사람" } },
  { path: "audit", icon: "alarm", title: { en: "Audit", ko: "감사 기록" } },
  { path: "events", icon: "log", title: { en: "Events", ko: "이벤트" } },
  { path: "settings", icon: "settings", title: { en: "Settings", ko: "설정" } },
  { path: "diagnostics", icon: "activity", title: { en: "Diagnostics", ko: "진단" } },
];
