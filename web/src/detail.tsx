// One row: its picture, all that is recorded of it, and what can be copied.
import { useState } from "preact/hooks";
import { asJob, asParameters, copy } from "./copy";
import { cell, label, shown, type Run } from "./data";
import { Picture } from "./picture";

interface Props {
  run: Run;
  row: number;
  picked: boolean;
  onPick: () => void;
  onClose: () => void;
}

export function Detail({ run, row, picked, onPick, onClose }: Props) {
  const [said, setSaid] = useState("");
  const names = [...run.params, ...[...run.names, ...Object.keys(run.constants)].filter((name) => !run.params.includes(name))];
  const told = names.filter((name) => name !== "a1111" && cell(run, name, row) !== null);
  const hand = async (what: string, text: string) => setSaid((await copy(text)) ? `${what} copied` : "cannot copy here");
  const prompt = String(cell(run, "prompt", row) ?? "");
  return (
    <aside class="detail" aria-label="The picture's row">
      <header>
        <button onClick={onPick}>{picked ? "− compare" : "+ compare"}</button>
        <button onClick={() => hand("job", asJob(run, row))}>Copy as job</button>
        <button onClick={() => hand("parameters", asParameters(run, row))}>Copy A1111 parameters</button>
        <button class="close" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </header>
      <output aria-live="polite">{said}</output>
      <div class="whole">
        <Picture run={run} row={row} full alt={prompt} />
      </div>
      <p class="prompt">{prompt}</p>
      <table>
        <tbody>
          {told.map((name) => (
            <tr key={name}>
              <th>{label(name)}</th>
              <td>{shown(cell(run, name, row))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </aside>
  );
}
