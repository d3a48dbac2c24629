/** What follows a step, at once where there is nothing to wait for: most calls find all they need in memory. */
export const follow = <T, R>(
  work: T | Promise<T>,
  next: (done: T) => R | Promise<R>,
): R | Promise<R> => (work instanceof Promise ? work.then(next) : next(work))
