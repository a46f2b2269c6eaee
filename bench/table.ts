/** The figures as lines of text. */
export function table(figures: Record<string, unknown>, detail: Record<string, unknown>): string {
  const lines = Object.entries(figures).map(([name, value]) => `${name.padEnd(14)} ${words(value)}`)
  const machine = detail['machine'] as Record<string, unknown>
  lines.push(
    '',
    `on ${machine['cores']} × ${machine['processor']}, Linux ${machine['kernel']}, Node ${machine['node']}`,
  )
  lines.push(`${machine['openvpn']}; load before: ${machine['loadBefore']}`)
  return lines.join('\n')
}

function words(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .map(([key, inner]) => `${key} ${words(inner)}`)
    .join('  ')
}
