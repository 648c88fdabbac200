/** What is shown at `/console/op/…`. It is loaded when an operator opens it. */
import { t } from "../texts";
import { Empty } from "../ui/parts";

/** Show the page that the segments behind `/console/op` name. */
export function Operate({ segments: _segments }: { segments: string[] }) {
  return <Empty icon="info" text={t("place.unknown")} />;
}
