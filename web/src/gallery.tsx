// All rows, of which only those in sight are in the document.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { cell, label, shown, type Run } from "./data";
import { Picture } from "./picture";

const GAP = 8;
const CAPTION = 22;
const BEYOND = 2;

interface Props {
  run: Run;
  rows: Int32Array;
  size: number;
  at: number;
  picked: number[];
  onAt: (place: number) => void;
  onOpen: (row: number) => void;
  onPick: (row: number) => void;
}

export function Gallery({ run, rows, size, at, picked, onAt, onOpen, onPick }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, width: 800, height: 600 });
  useLayoutEffect(() => {
    const element = box.current!;
    // Where nothing else is in use, so that arrows go from picture to picture at once.
    if (document.activeElement === document.body) element.focus({ preventScroll: true });
    let asked = 0;
    const look = () => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() =>
        setView({ top: element.scrollTop, width: element.clientWidth, height: element.clientHeight }),
      );
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    const watch = new ResizeObserver(look);
    watch.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      watch.disconnect();
      cancelAnimationFrame(asked);
    };
  }, []);
  const across = Math.max(1, Math.floor((view.width - GAP) / (size + GAP)));
  const line = size + CAPTION + GAP;
  const lines = Math.ceil(rows.length / across);
  const first = Math.max(0, Math.floor(view.top / line) - BEYOND);
  const last = Math.min(lines, Math.ceil((view.top + view.height) / line) + BEYOND);

  useEffect(() => {
    const element = box.current!;
    const top = Math.floor(at / across) * line;
    if (at < 0) return;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + line > element.scrollTop + element.clientHeight) element.scrollTop = top + line - element.clientHeight;
  }, [at, across, line]);

  const onKeyDown = (event: KeyboardEvent) => {
    const step: Record<string, number> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: across,
      ArrowUp: -across,
      PageDown: across * Math.max(1, Math.floor(view.height / line)),
      PageUp: -across * Math.max(1, Math.floor(view.height / line)),
      Home: -rows.length,
      End: rows.length,
    };
    const by = step[event.key];
    if (by !== undefined && rows.length) {
      onAt(Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by)));
      event.preventDefault();
    } else if (at >= 0 && at < rows.length && event.key === "Enter") onOpen(rows[at]!);
    else if (at >= 0 && at < rows.length && event.key === " ") {
      onPick(rows[at]!);
      event.preventDefault();
    }
  };

  const tiles = [];
  for (let place = first * across; place < Math.min(rows.length, last * across); place++) {
    const row = rows[place]!;
    const words = run.axes.slice(0, 3).map((name) => `${label(name)} ${shown(cell(run, name, row))}`);
    const style = {
      left: `${GAP + (place % across) * (size + GAP)}px`,
      top: `${GAP + Math.floor(place / across) * line}px`,
      width: `${size}px`,
    };
    tiles.push(
      <figure
        key={row}
        style={style}
        class={`tile${place === at ? " at" : ""}${picked.includes(row) ? " picked" : ""}`}
        data-row={String(cell(run, "row", row))}
        onClick={(event) => {
          onAt(place);
          if (event.ctrlKey || event.metaKey || event.shiftKey) onPick(row);
          else onOpen(row);
        }}
      >
        <div class="frame" style={{ height: `${size}px` }}>
          <Picture run={run} row={row} alt={words.join(", ")} />
        </div>
        <figcaption title={words.join("\n")}>
          {run.axes
            .slice(0, 3)
            .map((name) => shown(cell(run, name, row)))
            .join(" · ")}
        </figcaption>
      </figure>,
    );
  }
  return (
    <div class="gallery" ref={box} tabIndex={0} role="listbox" aria-label="Pictures" onKeyDown={onKeyDown}>
      <div style={{ height: `${GAP + lines * line}px`, position: "relative" }}>{tiles}</div>
      {rows.length === 0 && <p class="empty">{run.rows ? "No picture fits these choices." : "No picture is made yet."}</p>}
    </div>
  );
}
