/** A thread that plays what it is sent, one piece after the other: see player-threads.ts. */
import { parentPort } from 'node:worker_threads'
import { loadPrimitives } from '../src/io/primitives.js'
import { type Piece, playPiece } from './piece.js'

const port = parentPort!
const primitives = await loadPrimitives()
port.on('message', (piece: Piece) => port.postMessage(playPiece(piece, primitives)))
