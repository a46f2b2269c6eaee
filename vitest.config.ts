import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    // Against what hangs, not against a slow machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'sim/**/*.test.ts', 'bench/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/netns/**'],
          maxWorkers: 2,
        },
      },
      {
        extends: true,
        test: {
          // Whole programs in network namespaces, in real time: one file at a time has the machine to itself.
          name: 'network',
          include: ['test/netns/**/*.test.ts'],
          fileParallelism: false,
        },
      },
    ],
  },
})
