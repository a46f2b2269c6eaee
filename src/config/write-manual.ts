import { writeFileSync } from 'node:fs'
import { configManual } from './manual.js'

// To be run at the root of the project after a change of the table: node dist/src/config/write-manual.js
writeFileSync('docs/config.md', configManual())
