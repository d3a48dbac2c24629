# METADATA
# description: A GitHub App's user token reaches what the OAuth app's does, so the same is refused.
package deputy.providers.github_app

deny contains reason if some reason in data.deputy.providers.github.deny
