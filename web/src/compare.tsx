// Two pictures or more: side by side, one over the other, or their difference.
import { useState } from "preact/hooks";
import { cell, label, shown, type Run } from "./data";
import { Picture } from "./picture";

type Way = "side" | "slider" | "difference";

export function Compare({ run, rows, onClose }: { run: Run; rows: number[]; onClose: () => void }) {
  const [way, setWay] = useState<Way>("side");
  const [at, setAt] = useState(50);
  const [gain, setGain] = useState(4);
  const [pair, setPair] = useState<[number, number]>([0, 1]);
  const about = (row: number) =>
    run.axes
      .filter((name) => new Set(rows.map((one) => cell(run, name, one))).size > 1)
      .map((name) => `${label(name)} ${shown(cell(run, name, row))}`)
      .join(", ") || String(cell(run, "row", row));
  const [one, other] = [rows[pair[0]] ?? rows[0]!, rows[pair[1]] ?? rows[1]!];
  const chooser = (which: 0 | 1) => (
    <select
      aria-label={which ? "Second picture" : "First picture"}
      value={String(pair[which])}
      onChange={(event) => {
        const chosen = Number(event.currentTarget.value);
        setPair(which ? [pair[0], chosen] : [chosen, pair[1]]);
      }}
    >
      {rows.map((row, place) => (
        <option key={row} value={String(place)}>
          {about(row)}
        </option>
      ))}
    </select>
  );
  return (
    <div class="compare" role="dialog" aria-modal="true" aria-label="Compare">
      <header>
        {(["side", "slider", "difference"] as Way[]).map((name) => (
          <button key={name} aria-pressed={way === name} onClick={() => setWay(name)}>
            {{ side: "Side by side", slider: "Slider", difference: "Difference" }[name]}
          </button>
        ))}
        {way !== "side" && rows.length > 2 && chooser(0)}
        {way !== "side" && rows.length > 2 && chooser(1)}
        {way === "slider" && (
          <label>
            position
            <input type="range" min="0" max="100" value={at} autofocus onInput={(event) => setAt(Number(event.currentTarget.value))} />
          </label>
        )}
        {way === "difference" && (
          <label>
            times {gain}
            <input type="range" min="1" max="32" value={gain} onInput={(event) => setGain(Number(event.currentTarget.value))} />
          </label>
        )}
        <button class="close" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </header>
      {way === "side" ? (
        <div class="side">
          {rows.map((row) => (
            <figure key={row}>
              <Picture run={run} row={row} full alt={about(row)} />
              <figcaption>{about(row)}</figcaption>
            </figure>
          ))}
        </div>
      ) : (
        <div class={`over ${way}`} style={{ "--at": `${at}%`, "--gain": String(gain) }}>
          <div class="stack">
            <Picture key={`a${one}`} run={run} row={one} full alt={about(one)} />
            <Picture key={`b${other}`} run={run} row={other} full alt={about(other)} />
            {way === "slider" && <i class="line" />}
          </div>
          <p>
            {about(one)} — {about(other)}
          </p>
        </div>
      )}
    </div>
  );
}
