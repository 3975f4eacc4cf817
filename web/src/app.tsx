import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Compare } from "./compare";
import { cell, decode, label, type Run } from "./data";
import { Detail } from "./detail";
import { chosen, nothing, sortable, type Choice } from "./filter";
import { Gallery } from "./gallery";
import { Grid } from "./grid";
import { Failures, Throughput } from "./other";
import { Side } from "./side";

const VIEWS = ["Gallery", "Grid", "Failures", "Throughput", "Job"] as const;
type View = (typeof VIEWS)[number];
const POLL = 2000;
const KEYS = [
  ["1 – 5", "views"],
  ["/", "search"],
  ["← ↑ → ↓", "go from picture to picture"],
  ["Enter", "open a picture"],
  ["Space", "take it into the comparison, or out"],
  ["c", "compare"],
  ["t", "light or dark"],
  ["Esc", "close"],
];

export function App({ first }: { first: Run }) {
  const run = useLive(first);
  const [view, setView] = useState<View>("Gallery");
  const [choice, setChoice] = useState<Choice>(nothing);
  const [size, setSize] = useState(144);
  const [at, setAt] = useState(-1);
  // By their keys: where a run is followed, new rows come in between.
  const [opened, setOpened] = useState<string | null>(null);
  const [kept, setKept] = useState<string[]>([]);
  const [comparing, setComparing] = useState(false);
  const [help, setHelp] = useState(false);
  const [axes, setAxes] = useState<[string, string] | null>(null);
  const search = useRef<HTMLInputElement>(null);
  const rows = useMemo(() => chosen(run, choice), [run, choice]);
  const places = useMemo(() => new Map(Array.from({ length: run.rows }, (_, row) => [key(run, row), row])), [run]);
  const open = opened === null ? undefined : places.get(opened);
  const picked = kept.map((one) => places.get(one)).filter((row) => row !== undefined);
  const [x, y] = axes ?? [run.axes[0] ?? "", run.axes[1] ?? ""];
  const setOpen = (row: number | null) => setOpened(row === null ? null : key(run, row));

  const change = (next: Choice) => {
    setChoice(next);
    setAt(-1);
  };
  const pick = (row: number) => {
    const one = key(run, row);
    setKept((old) => (old.includes(one) ? old.filter((other) => other !== one) : [...old, one]));
  };
  const back = () => {
    if (help) setHelp(false);
    else if (comparing) setComparing(false);
    else setOpen(null);
  };

  // Renewed with each rendering, not after the next frame: a key may come right after a click.
  const onKey = useRef<(event: KeyboardEvent) => void>(() => {});
  onKey.current = (event) => {
    const typing = event.target instanceof HTMLElement && /INPUT|SELECT|TEXTAREA/.test(event.target.tagName);
    if (event.key === "Escape") {
      if (typing) (event.target as HTMLElement).blur();
      back();
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(event.key);
    if (event.key === "/") {
      search.current?.focus();
      event.preventDefault();
    } else if (event.key === "c" && picked.length > 1) setComparing(true);
    else if (event.key === "t") turn();
    else if (event.key === "?") setHelp(true);
    else if (number >= 1 && number <= VIEWS.length) setView(VIEWS[number - 1]!);
  };
  useLayoutEffect(() => {
    const listen = (event: KeyboardEvent) => onKey.current(event);
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, []);

  return (
    <div class="app">
      <header class="top">
        <h1 title={run.directory}>{run.title}</h1>
        <span class="counts">
          <b>{rows.length.toLocaleString()}</b> of {run.rows.toLocaleString()} pictures
          {run.left ? `, ${run.left.toLocaleString()} left` : ""}
          {run.failures.length ? `, ${run.failures.length.toLocaleString()} failed` : ""}
        </span>
        <input
          ref={search}
          type="search"
          placeholder="Search in prompts"
          aria-label="Search in prompts"
          value={choice.query}
          onInput={(event) => change({ ...choice, query: event.currentTarget.value })}
        />
        <label>
          sort
          <select aria-label="Sort by" value={choice.sort} onChange={(event) => change({ ...choice, sort: event.currentTarget.value })}>
            <option value="">as planned</option>
            {sortable(run).map((name) => (
              <option key={name} value={name}>
                {label(name)}
              </option>
            ))}
          </select>
          <button aria-label="Turn the order" title="Turn the order" onClick={() => change({ ...choice, down: !choice.down })}>
            {choice.down ? "↓" : "↑"}
          </button>
        </label>
        <label>
          size
          <input type="range" min="64" max="320" step="8" value={size} onInput={(event) => setSize(Number(event.currentTarget.value))} />
        </label>
        <button disabled={picked.length < 2} onClick={() => setComparing(true)}>
          Compare {picked.length || ""}
        </button>
        {picked.length > 0 && <button onClick={() => setKept([])}>Clear</button>}
        <button aria-label="Light or dark" title="Light or dark" onClick={turn}>
          ◐
        </button>
        <button aria-label="Keys" title="Keys" onClick={() => setHelp(true)}>
          ?
        </button>
      </header>
      <div class="tabs" role="tablist">
        {VIEWS.map((name) => (
          <button key={name} role="tab" aria-selected={view === name} onClick={() => setView(name)}>
            {name}
            {name === "Failures" && run.failures.length > 0 && <sup>{run.failures.length}</sup>}
          </button>
        ))}
        {(choice.query || [...choice.codes.values()].some((set) => set.size) || choice.spans.size > 0) && (
          <button class="clear" onClick={() => change({ ...nothing(), sort: choice.sort, down: choice.down })}>
            Clear the choices
          </button>
        )}
      </div>
      <main>
        {(view === "Gallery" || view === "Grid") && <Side run={run} choice={choice} onChoice={change} />}
        {view === "Gallery" && (
          <Gallery run={run} rows={rows} size={size} at={at} picked={picked} onAt={setAt} onOpen={setOpen} onPick={pick} />
        )}
        {view === "Grid" && (
          <Grid
            run={run}
            rows={rows}
            size={size}
            x={x}
            y={y}
            onAxes={(across, down) => setAxes([across, down])}
            onOpen={setOpen}
            onCell={(wanted) => {
              const codes = new Map(choice.codes);
              for (const [name, code] of wanted) codes.set(name, new Set([code]));
              change({ ...choice, codes });
              setView("Gallery");
            }}
          />
        )}
        {view === "Failures" && <Failures run={run} />}
        {view === "Throughput" && <Throughput run={run} />}
        {view === "Job" && <pre class="job">{run.job}</pre>}
        {open !== undefined && (
          <Detail key={opened} run={run} row={open} picked={picked.includes(open)} onPick={() => pick(open)} onClose={() => setOpen(null)} />
        )}
      </main>
      {comparing && picked.length > 1 && <Compare run={run} rows={picked} onClose={() => setComparing(false)} />}
      {help && (
        <div class="help" role="dialog" aria-label="Keys" onClick={() => setHelp(false)}>
          <table>
            <tbody>
              {KEYS.map(([key, what]) => (
                <tr key={key}>
                  <th>{key}</th>
                  <td>{what}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

const key = (run: Run, row: number): string => String(cell(run, "row", row));

function turn() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

/** The run as it is; where it is served, as it grows. */
function useLive(first: Run): Run {
  const [run, setRun] = useState(first);
  useEffect(() => {
    if (!first.thumbs.served) return;
    let tag = "";
    const timer = setInterval(async () => {
      try {
        const answer = await fetch("data", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
        if (answer.status !== 200) return;
        tag = answer.headers.get("ETag") ?? "";
        setRun(await decode(new Uint8Array(await answer.arrayBuffer())));
      } catch {
        // The server has ended; what is shown stays.
      }
    }, POLL);
    return () => clearInterval(timer);
  }, []);
  return run;
}
