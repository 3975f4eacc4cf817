// Two axes crossed; which ones is chosen by dragging their names, or from the lists.
import { useMemo, useState } from "preact/hooks";
import { cell, label, shown, type Run } from "./data";
import { Picture } from "./picture";

const MOST = 60;

interface Props {
  run: Run;
  rows: Int32Array;
  size: number;
  x: string;
  y: string;
  onAxes: (x: string, y: string) => void;
  onOpen: (row: number) => void;
  onCell: (wanted: [string, number][]) => void;
}

export function Grid({ run, rows, size, x, y, onAxes, onOpen, onCell }: Props) {
  const axes = run.axes.filter((name) => run.columns.has(name));
  const across = run.columns.get(x);
  const down = run.columns.get(y);
  const table = useMemo(() => {
    const cells = new Map<string, number[]>();
    const seen = [new Set<number>(), new Set<number>()] as const;
    for (const row of rows) {
      const [a, b] = [across ? across.codes[row]! : 0, down ? down.codes[row]! : 0];
      seen[0].add(a);
      seen[1].add(b);
      const key = `${a}/${b}`;
      const held = cells.get(key);
      if (held) held.push(row);
      else cells.set(key, [row]);
    }
    const [xs, ys] = seen.map((codes) => [...codes].sort((one, other) => one - other)) as [number[], number[]];
    return { cells, xs, ys };
  }, [run, rows, x, y]);
  const put = (way: "x" | "y", name: string) => {
    if (way === "x") onAxes(name, name === y ? x : y);
    else onAxes(name === x ? y : x, name);
  };
  const cut = table.xs.length > MOST || table.ys.length > MOST;
  return (
    <div class="grid">
      <div class="axes">
        <Slot way="x" title="across" name={x} axes={axes} onPut={put} />
        <button title="Swap the axes" aria-label="Swap the axes" onClick={() => onAxes(y, x)}>
          ⇄
        </button>
        <Slot way="y" title="down" name={y} axes={axes} onPut={put} />
        <span class="chips" aria-label="Axes, to be dragged">
          {axes.map((name) => (
            <span
              key={name}
              class="chip"
              draggable
              onDragStart={(event) => event.dataTransfer?.setData("text/plain", name)}
            >
              {label(name)}
            </span>
          ))}
        </span>
        {cut && <span class="note">only the first {MOST} values of an axis are shown; choose fewer</span>}
      </div>
      <div class="cells" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th class="corner" />
              {table.xs.slice(0, MOST).map((code) => (
                <th key={code} style={{ width: `${size}px` }}>
                  {across ? shown(across.dict[code]!) : ""}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.ys.slice(0, MOST).map((b) => (
              <tr key={b} style={{ contentVisibility: "auto", containIntrinsicHeight: `${size}px` }}>
                <th>{down ? shown(down.dict[b]!) : ""}</th>
                {table.xs.slice(0, MOST).map((a) => {
                  const held = table.cells.get(`${a}/${b}`);
                  if (!held) return <td key={a} class="gap" style={{ width: `${size}px`, height: `${size}px` }} />;
                  const alt = `${label(x)} ${across ? shown(cell(run, x, held[0]!)) : ""}, ${label(y)} ${down ? shown(cell(run, y, held[0]!)) : ""}`;
                  const wanted: [string, number][] = [];
                  if (across) wanted.push([x, a]);
                  if (down) wanted.push([y, b]);
                  return (
                    <td key={a}>
                      <button
                        class="frame"
                        style={{ width: `${size}px`, height: `${size}px` }}
                        aria-label={alt}
                        onClick={() => onOpen(held[0]!)}
                      >
                        <Picture run={run} row={held[0]!} alt={alt} />
                      </button>
                      {held.length > 1 && (
                        <button class="more" title="Show them all" onClick={() => onCell(wanted)}>
                          {held.length}
                        </button>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

interface SlotProps {
  way: "x" | "y";
  title: string;
  name: string;
  axes: string[];
  onPut: (way: "x" | "y", name: string) => void;
}

function Slot({ way, title, name, axes, onPut }: SlotProps) {
  const [over, setOver] = useState(false);
  return (
    <label
      class={`slot${over ? " over" : ""}`}
      data-way={way}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const dropped = event.dataTransfer?.getData("text/plain");
        if (dropped && axes.includes(dropped)) onPut(way, dropped);
      }}
    >
      {title}
      <select value={name} onChange={(event) => onPut(way, event.currentTarget.value)}>
        <option value="">nothing</option>
        {axes.map((one) => (
          <option key={one} value={one}>
            {label(one)}
          </option>
        ))}
      </select>
    </label>
  );
}
