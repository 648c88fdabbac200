/** The texts of operators' pages. */
import { texts } from "../lib/text";
import english from "../texts/operate.en.json";

export const t = texts(english, () => import("../texts/operate.ko.json"));
export type TextKey = keyof typeof english;
