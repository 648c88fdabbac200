import { texts } from "../lib/text";
import english from "./people.en.json";

/** The texts of people's pages and of the frame. */
export const t = texts(english, () => import("./people.ko.json"));
export type TextKey = keyof typeof english;
