// Failures by their reason, and pictures over time.
import type { Failure, Run } from "./data";

const SHOWN = 200;

export function Failures({ run }: { run: Run }) {
  const groups = new Map<string, Failure[]>();
  for (const one of run.failures) {
    // What is a row's own, numbers and what follows a colon, makes no group of its own.
    const reason = `${one.error}: ${one.message.split(/[:;]/)[0]!.replace(/\d+/g, "#").trim()}`;
    groups.set(reason, [...(groups.get(reason) ?? []), one]);
  }
  const sorted = [...groups].sort((one, other) => other[1].length - one[1].length);
  if (!sorted.length) return <p class="empty">No row has failed.</p>;
  return (
    <div class="failures">
      {sorted.map(([reason, found]) => (
        <details key={reason} open={sorted.length < 4}>
          <summary>
            <b>{found.length}</b> {reason}
          </summary>
          <table>
            <thead>
              <tr>
                <th>row</th>
                <th>what it is</th>
                <th>attempts</th>
                <th>said</th>
              </tr>
            </thead>
            <tbody>
              {found.slice(0, SHOWN).map((one) => (
                <tr key={one.row}>
                  <td>{one.row}</td>
                  <td>{one.about}</td>
                  <td>{one.attempts}</td>
                  <td>{one.message}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {found.length > SHOWN && <p>and {found.length - SHOWN} more</p>}
        </details>
      ))}
    </div>
  );
}

const WIDE = 900;
const HIGH = 260;
const LEFT = 60;

export function Throughput({ run }: { run: Run }) {
  const { start, seconds, counts } = run.bins;
  if (!counts.length) return <p class="empty">No picture is made yet.</p>;
  const rates = counts.map((count) => count / seconds);
  const most = Math.max(...rates, 1e-9);
  const width = (WIDE - LEFT) / counts.length;
  const when = (bin: number) => new Date((start + bin * seconds) * 1000).toLocaleString();
  const unit = most >= 1 ? ([1, "a second"] as const) : ([60, "a minute"] as const);
  return (
    <figure class="throughput">
      <svg viewBox={`0 0 ${WIDE} ${HIGH + 30}`} role="img" aria-label="Pictures over time">
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line x1={LEFT} x2={WIDE} y1={HIGH - share * (HIGH - 10)} y2={HIGH - share * (HIGH - 10)} class="rule" />
            <text x={LEFT - 6} y={HIGH - share * (HIGH - 10) + 4} text-anchor="end">
              {(share * most * unit[0]).toPrecision(3)}
            </text>
          </g>
        ))}
        {rates.map((rate, bin) => (
          <rect
            key={bin}
            x={LEFT + bin * width}
            width={Math.max(0.5, width - 0.5)}
            y={HIGH - (rate / most) * (HIGH - 10)}
            height={(rate / most) * (HIGH - 10)}
          >
            <title>{`${when(bin)}: ${counts[bin]} pictures`}</title>
          </rect>
        ))}
        <text x={LEFT} y={HIGH + 20}>
          {when(0)}
        </text>
        <text x={WIDE} y={HIGH + 20} text-anchor="end">
          {when(counts.length)}
        </text>
      </svg>
      <figcaption>Pictures {unit[1]}, of every {seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}</figcaption>
    </figure>
  );
}
