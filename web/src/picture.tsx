import { useState } from "preact/hooks";
import { picture, thumb, type Run } from "./data";

/** A picture, or its thumbnail where the page was taken away from its folder. */
export function Picture({ run, row, full, alt }: { run: Run; row: number; full?: boolean; alt: string }) {
  const [lost, setLost] = useState(0);
  const tries = full ? [picture(run, row), thumb(run, row)] : [thumb(run, row), picture(run, row)];
  if (lost >= tries.length) return <span class="lost">no file</span>;
  return (
    <img
      key={`${row}-${lost}`}
      src={tries[lost]}
      alt={alt}
      loading={full ? "eager" : "lazy"}
      decoding="async"
      draggable={false}
      onError={() => setLost(lost + 1)}
    />
  );
}
