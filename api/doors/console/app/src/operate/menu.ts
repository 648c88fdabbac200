/** The pages of operators, for the navigation. Their code is loaded with the first of them. */
import type { IconName } from "../ui/icon";

export interface OperatePage {
  /** The segment behind `/console/op/`. */
  path: string;
  title: string;
  icon: IconName;
}

/** The entries of the navigation; texts in both languages, since the catalogue comes with the pages. */
export const operatePages: Array<Omit<OperatePage, "title"> & { title: { en: string; ko: string } }> = [];
