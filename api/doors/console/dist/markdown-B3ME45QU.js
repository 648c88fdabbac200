import{a}from"./chunk-DQTMLPS4.js";import"./chunk-TQY4V5RM.js";import"./chunk-3RNHDNP5.js";export{a as Markdown};
