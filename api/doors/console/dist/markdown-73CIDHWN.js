import{a}from"./chunk-CT4TNQZN.js";import"./chunk-EOFX5FCR.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
