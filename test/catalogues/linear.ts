// Linear's GraphQL API: every root field, from the types of Linear's own client.
import { short, type Found } from './found.ts'
import { specFiles, specText } from './specs.ts'
import { declared, membersOf } from './typescript.ts'

const FIELD = /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?^  (\w+)\??: /gm
const upper = (name: string): string => name.slice(0, 1).toUpperCase() + name.slice(1)

export const linear = (): readonly Found[] => {
  const file = specFiles('linear').find((path) => /\/index-\w+\.d\.mts$/.test(path))
  const types = declared([specText('linear', file)])
  return (['Query', 'Mutation'] as const).flatMap((root) =>
    [...(types.get(root) ?? '').matchAll(FIELD)].flatMap(([, doc = '', name = '']): Found[] =>
      name.startsWith('_')
        ? []
        : [
            {
              id: name,
              method: 'POST',
              path: '/graphql',
              host: null,
              graphql: `${root.toLowerCase()} ${name}`,
              summary: short(doc.replaceAll(/^\s*\* ?/gm, '')),
              // Linear's page says what each scope is for, and of no field which of them suffices.
              scopes: null,
              parameters: membersOf(`${root}${upper(name)}Args`, types),
            },
          ],
    ),
  )
}
